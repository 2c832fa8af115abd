"""Prompts with known answers, and small solvers that try to answer them.

Every module of this package holds a few kinds of prompt: how one is drawn together with its
truth, and the skills with which a solver reads the text again and works out an answer. A skill
sees nothing but the text; the truth never comes from a skill.
"""
