"""Conversations as texts: the last message first, so that what is cut off is the oldest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lookahead_sk._validation import reject


def is_conversation(prompt: Any) -> bool:
    """Whether a prompt is a list of messages."""
    is_list = isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes)
    return is_list and bool(prompt) and all(isinstance(each, Mapping) for each in prompt)


def conversation_text(messages: Sequence[Mapping[str, Any]]) -> str:
    r"""Text by which routers read a conversation.

    It begins with the last message, as it is. The earlier ones follow, the newest first, each after
    its role in brackets. Encoders read only the beginning of long texts; so what they miss is the
    oldest part. A conversation of one message is read as the plain prompt.

    Parameters
    ----------
    messages : sequence of mapping
        Each has a "role" and a "content", as chat interfaces take them. Content is a text, or a
        list of parts of which those of type "text" are read; None is no text.

    Returns
    -------
    str
        The text.

    Raises
    ------
    TypeError
        If a message has no role or its content is something else.
    ValueError
        If there are no messages.

    Examples
    --------
    >>> from lookahead_sk.routing import conversation_text
    >>> conversation_text(
    ...     [
    ...         {"role": "user", "content": "What is 2 + 2?"},
    ...         {"role": "assistant", "content": "4"},
    ...         {"role": "user", "content": "Why?"},
    ...     ]
    ... )
    'Why?\n\n[assistant] 4\n\n[user] What is 2 + 2?'
    """
    if not is_conversation(messages):
        reject("messages", "a list of mappings with role and content", messages)
    *earlier, last = messages
    parts = [_content(last)]
    parts += [f"[{_role(message)}] {_content(message)}" for message in reversed(earlier)]
    return "\n\n".join(parts)


def context_characters(messages: Sequence[Mapping[str, Any]]) -> int:
    """Characters of all messages but the last: what the serving model has read before."""
    return sum(len(_content(message)) for message in messages[:-1])


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if not isinstance(role, str):
        reject("messages", "mappings whose role is a text", dict(message), kind=TypeError)
    return role


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None and "content" in message:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    accepted = "mappings whose content is a text, None, or a list of parts"
    return reject("messages", accepted, dict(message), kind=TypeError)
