"""Tiny random language models with a tokenizer of whole words, built without a download."""

import torch

WORDS = ["sum", "cat", "red", "sing", "left", "yes", "no", "maybe", "one", "two", "three", "four"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]"]
PAD, UNK, CLS, SEP, MASK, EOS = range(6)
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer(is_masked=True):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if is_masked:
        special |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    else:
        special |= {"eos_token": "[EOS]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def token(word):
    return len(SPECIAL) + WORDS.index(word)


def tiny(name):
    """(model, tokenizer) of an architecture; the same random weights every time."""
    import transformers as hf

    n = len(SPECIAL) + len(WORDS)
    # Wide random weights: attention that is nearly uniform takes long to learn anything.
    common = {"vocab_size": n, "pad_token_id": PAD, "initializer_range": 0.15}
    bert = {**common, **TINY, "intermediate_size": 64, "max_position_embeddings": 64}
    torch.manual_seed(0)
    if name == "bert":
        model = hf.BertForMaskedLM(hf.BertConfig(**bert))
    elif name == "bert-trunk":
        model = hf.BertModel(hf.BertConfig(**bert))
    elif name == "roberta":
        model = hf.RobertaForMaskedLM(hf.RobertaConfig(**bert))
    elif name == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
        config = hf.DistilBertConfig(**common, **sizes, max_position_embeddings=64)
        model = hf.DistilBertForMaskedLM(config)
    elif name == "modernbert":
        config = hf.ModernBertConfig(
            **common,
            **{**TINY, "num_hidden_layers": 3},
            intermediate_size=64,
            max_position_embeddings=64,
            local_attention=8,
            global_attn_every_n_layers=3,
            cls_token_id=CLS,
            sep_token_id=SEP,
            bos_token_id=CLS,
            eos_token_id=SEP,
        )
        model = hf.ModernBertForMaskedLM(config)
    elif name == "gpt2":
        config = hf.GPT2Config(
            vocab_size=n, initializer_range=0.15, n_positions=64, n_embd=32, n_layer=2, n_head=2,
            bos_token_id=EOS, eos_token_id=EOS,
        )  # fmt: skip
        model = hf.GPT2LMHeadModel(config)
    elif name == "gemma3":
        config = hf.Gemma3TextConfig(
            **common, **TINY, intermediate_size=64, max_position_embeddings=64, head_dim=16,
            num_key_value_heads=1, sliding_window=8, bos_token_id=EOS, eos_token_id=EOS,
            layer_types=["sliding_attention", "full_attention"],
        )  # fmt: skip
        model = hf.Gemma3ForCausalLM(config)
    else:
        config = hf.LlamaConfig(
            **common, **TINY, intermediate_size=64, max_position_embeddings=64,
            num_key_value_heads=1, bos_token_id=EOS, eos_token_id=EOS,
        )  # fmt: skip
        model = hf.LlamaForCausalLM(config)
    return model.eval(), tokenizer(name in MASKED)


MASKED = ("bert", "bert-trunk", "roberta", "distilbert", "modernbert")
CAUSAL = ("llama", "gpt2", "gemma3")


def network(name, n_models=3, n_tokens=4, **options):
    """An untrained lookahead network on a tiny backbone."""
    from lookahead_sk.routing._language_model._backbone import load_backbone
    from lookahead_sk.routing._language_model._state import NETWORKS

    approach = "masked" if name in MASKED else "causal"
    model, vocabulary = load_backbone(tiny(name), approach)
    torch.manual_seed(1)
    built = NETWORKS[approach](model, vocabulary, n_models, n_tokens, **options)
    built.initialise(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(built.heads.scorer.weight)
    return built.eval()


def learnable(n, seed=0):
    """Prompts whose first word says which of two models is right, and what both answer."""
    import numpy as np

    rng = np.random.RandomState(seed)
    subjects = rng.randint(4, size=n)
    prompts, scores, responses = [], np.zeros((n, 2)), np.empty((n, 2), dtype=object)
    for i, subject in enumerate(subjects):
        filler = " ".join(rng.choice(WORDS[8:], size=rng.randint(1, 5)))
        prompts.append(f"{WORDS[subject]} {filler}")
        right = int(subject < 2)
        scores[i, right] = 1.0
        responses[i, right], responses[i, 1 - right] = "yes one", "no two three"
    return prompts, scores, responses
