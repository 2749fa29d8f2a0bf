"""Makes the tiny models of `engines.py`: a Llama of random weights and its tokenizer, in a folder as the Hub has them.

Run by the Python of the engines' environment: `python benchmarks/engines_model.py FOLDER`. Nothing is downloaded.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<s>", "</s>")
#: A chat as plain text; the engines read it from the tokenizer.
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
CONTEXT = 2048  # tokens


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, and a few of two, so that a text of several letters is several tokens."""
    pairs = ["th", "he", "in", "er", "an"]
    alphabet = [*string.ascii_letters, *string.digits, *string.punctuation, "\u0120", "\u010a"]  # a space, a new line
    names = [*SPECIAL, *alphabet, *pairs]
    merges = [(pair[0], pair[1]) for pair in pairs]
    made = Tokenizer(
        models.BPE(vocab={name: place for place, name in enumerate(names)}, merges=merges, unk_token="<unk>")
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    whole = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    whole.chat_template = CHAT
    return whole


def llama(words: int) -> LlamaForCausalLM:
    """A model that answers at once, and with the same text each time."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    # Weights as small as a fresh model's give every token the same chance; larger ones make texts that differ.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.3)
    return model.eval()


def main(folder: Path) -> None:
    """Write them."""
    words = tokenizer()
    words.save_pretrained(folder)
    model = llama(len(words))
    model.generation_config.pad_token_id = 2
    model.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
