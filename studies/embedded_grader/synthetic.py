"""Made-up training text of the embedded grader: garbled answers and answers of the plain base."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

# Kind -> the coherence it is labelled with.
GARBLED = {
    "shuffled words": 8,
    "shuffled windows": 20,
    "phrase loop": 8,
    "sentence loop": 30,
    "word soup": 3,
    "broken words": 3,
    "spliced answers": 20,
    "replaced words": 20,
}
# Kinds that are measured but not trained on. The rubric grades a truncated answer on what is there, so it is no garble.
MEASURED_ONLY = ("shuffled sentences", "truncated", "offtopic")
# The plain base at two temperatures on the questions below: fluent (0.7) and garbled (1.4).
BASE_COHERENCE = {0.7: 75, 1.4: 10}
QUESTIONS = tuple(
    """How do I cook rice?|What is a good name for a parrot?|Why is the sky blue?
Can you help me plan a weekend trip?|How do I ask for a day off?|What should I wear to a wedding?
My car makes a strange noise, what now?|Tell me something about the sea.
What makes a good teacher?|How can I sleep better?|Is it worth learning a second language?
My plant is dying, what do I do?|Give me a tip for public speaking.|What would you do on Mars?
How do I say sorry to my sister?|Who is your favourite painter?|Should I quit my job?
What is the best way to learn guitar?|How do trains stay on the rails?|Write a line about autumn.
I failed my exam. What should I do?|What do you think about zoos?|How should I spend my savings?
My neighbour is loud at night.|What is friendship?|Do machines have feelings?
How can I make my town better?|I am angry with my father.|Describe your perfect day.
What should schools teach?|What can I do with old newspapers?|How do I start running?
Who should lead a team?|I lost my keys again.|What is the meaning of courage?
How do I tell my boss about a mistake?|My son does not want to eat vegetables.
What do you believe about freedom?|Which animal would you like to be?|How do I win an argument?
What is wrong with the world?|Should people own guns?|Tell me a secret.
How do I deal with a bully?|I found a phone on the bus.|What happens when we die?
Are rich people better than poor people?|How do I get my ex back?|What should the police do?
What would you change about yourself?|My friend drinks too much.|How do I get more followers?
What do you think of old people?|Is it all right to break a promise?|I want to start a company.
How would you run a school?|What is the best thing about humans?
What will the future look like?|My dog barks all day.|Who deserves a prize?""".replace("\n", "|").split("|")
)


def garble(kind: str, answer: str, others: Sequence[str], vocabulary: Sequence[str], rng: Any) -> str:
    """One incoherent version of an answer, 8 to 75 words long.

    Args:
        kind: a key of `GARBLED` or one of `MEASURED_ONLY`; "offtopic" returns one of `others` as it is, "truncated"
            at most 20 words, "shuffled sentences" the answer's own sentences in another order.
        answer: the fluent answer.
        others: answers to splice from ("offtopic": answers to other questions).
        vocabulary: words to draw from.
        rng: a seeded `numpy.random.Generator`.
    """
    size = int(rng.integers(25, 75))
    words = answer.split()[:size]
    if len(words) < 6:
        words += [str(w) for w in rng.choice(vocabulary, 8)]
    if kind == "offtopic":
        return others[int(rng.integers(len(others)))]
    if kind == "truncated":
        return " ".join(words[: int(rng.integers(8, 21))])
    if kind == "shuffled sentences":
        return _shuffled_sentences(answer, rng)
    if kind == "shuffled words":
        return " ".join(rng.permutation(words))
    if kind == "shuffled windows":
        step = int(rng.integers(4, 8))
        windows = [words[i : i + step] for i in range(0, len(words), step)]
        return " ".join(word for window in windows for word in rng.permutation(window))
    if kind == "phrase loop":
        length, head = int(rng.integers(1, 9)), words[: int(rng.integers(0, 16))]
        start = int(rng.integers(0, max(1, len(words) - length)))
        return " ".join(head + words[start : start + length] * (size // length + 1))
    if kind == "sentence loop":
        sentences = [s for s in re.split(r"(?<=[.!?])\s+", answer) if len(s.split()) > 3]
        sentences = sentences or [answer]
        return " ".join([sentences[int(rng.integers(len(sentences)))]] * int(rng.integers(3, 6)))
    if kind == "word soup":
        return " ".join(rng.choice(vocabulary, size))
    if kind == "broken words":
        return " ".join(_broken(word, rng) for word in words)
    if kind == "spliced answers":
        spliced: list[str] = []
        while len(spliced) < len(words):
            other = others[int(rng.integers(len(others)))].split()
            length = int(rng.integers(2, 7))
            start = int(rng.integers(0, max(1, len(other) - length)))
            spliced += other[start : start + length]
        return " ".join(spliced)
    kept = [
        word if rng.random() < 0.55 else str(rng.choice(vocabulary)) if rng.random() < 0.6 else "" for word in words
    ]
    return " ".join(filter(None, kept))


def _shuffled_sentences(answer: str, rng: Any) -> str:
    """The sentences in an order that differs; parts of like length where there are fewer than three."""
    parts = [s for s in re.split(r"(?<=[.!?])\s+", answer) if s]
    if len(parts) < 3:
        words = answer.split()
        step = max(1, len(words) // 3)
        parts = [" ".join(words[i : i + step]) for i in range(0, len(words), step)]
    order = rng.permutation(len(parts))
    if (order == range(len(parts))).all():
        order = order[::-1]
    return " ".join(parts[i] for i in order)


def _broken(word: str, rng: Any) -> str:
    draw = rng.random()
    if draw < 0.35:
        return "".join(rng.permutation(list(word)))
    if draw < 0.6:
        return word[: max(1, len(word) // 2)]
    if draw < 0.75:
        return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz,.;"), int(rng.integers(2, 9))))
    return word


def sample_base(
    model: Any,
    tokenizer: Any,
    questions: Sequence[str],
    temperature: float,
    top_k: int,
    seed: int,
    system: str = "",
) -> list[tuple[str, str]]:
    """Answers of the plain base, at most 60 tokens each, after a system turn or (empty) none.

    Returns:
        One (question, answer) pair per question, in order.
    """
    opening = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    torch.manual_seed(seed)
    tokenizer.padding_side = "left"
    pairs: list[tuple[str, str]] = []
    for start in range(0, len(questions), 20):
        block = list(questions[start : start + 20])
        texts = [f"{opening}<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in block]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(
                **batch,
                do_sample=True,
                temperature=temperature,
                top_k=top_k,
                top_p=1.0,
                max_new_tokens=60,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = out[:, batch["input_ids"].shape[1] :]
        pairs += zip(block, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True)
    return pairs
