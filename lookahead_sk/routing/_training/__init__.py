"""What both training loops share: the losses, and epochs that callbacks follow."""
