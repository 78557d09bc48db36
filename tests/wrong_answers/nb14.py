"""What students typically write in notebook 14, and words of the hint that it must get."""

import torch


def no_graph(terms, inputs):
    return {name for name, loss in terms.items() if not loss.requires_grad}


def gradients(loss, inputs):
    if not loss.requires_grad:
        return [None] * len(inputs)
    return torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)


def no_gradient(terms, inputs):
    return {n for n, loss in terms.items() if all(g is None for g in gradients(loss, inputs))}


def moving(terms, inputs, quiet=any):
    moves = {n: [g is not None and g.any() for g in gradients(v, inputs)] for n, v in terms.items()}
    return {name for name, found in moves.items() if quiet(found)}


def missing_one(terms, inputs):
    return set(terms) - moving(terms, inputs, all)


def not_numbers(terms, inputs):
    return {name for name, loss in terms.items() if loss.isnan()}


def numbers_only(terms, inputs):
    return (set(terms) - moving(terms, inputs)) - not_numbers(terms, inputs)


def there(distances):
    return [value for value in distances if value is not None]


def zero_is_empty(distances):
    full = [value for value in distances if value]
    return sum(full) / len(distances), sum(full) / len(full), len(distances) - len(full)


def with_zero(distances):
    return sum(there(distances)) / len(distances)


def without(distances):
    return sum(there(distances)) / len(there(distances))


def ordered(table, key, most=("dice", "jaccard")):
    return sorted(table, key=lambda row: row[key], reverse=key in most)


def always_most(table, key):
    first, second, _ = ordered(table, key, (key,))
    return second["method"], first[key] - second[key]


def signed(table, key):
    first, second, _ = ordered(table, key)
    return second["method"], first[key] - second[key]


def over_the_last(table, key):
    first, second, last = ordered(table, key)
    return second["method"], abs(first[key] - last[key])


def by_dice(table, key):
    first, second, _ = ordered(table, "dice")
    return second["method"], abs(first[key] - second[key])


WRONG = {
    "exercise_1": [
        ((no_graph,), "requires_grad is not enough"),
        ((no_gradient,), "a gradient that is there may be 0"),
        ((moving,), "asked are the others"),
        ((missing_one,), "one input is enough"),
        ((not_numbers,), "look at requires_grad first"),
        ((numbers_only,), "NaN in the value is no gradient"),
        ((lambda terms, inputs: set(terms),), "'both' moves each"),
        ((lambda terms, inputs: 3,), "a set of names, found 3"),
        ((lambda terms, inputs: {"contrast"},), "names of `terms`"),
        (
            (lambda terms, inputs: {n for n, v in terms.items() if gradients(v, inputs)[2]},),
            "your function stopped with IndexError",
        ),
    ],
    "exercise_2": [
        ((lambda d: (without(d), with_zero(d), d.count(None)),), "the order"),
        ((lambda d: (without(d), without(d), d.count(None)),), "divides by all 4 cases"),
        ((lambda d: (with_zero(d), with_zero(d), d.count(None)),), "leaves the empty"),
        ((lambda d: (with_zero(d), without(d), d.count(None) / len(d)),), "not their share"),
        ((lambda d: (with_zero(d), without(d), len(there(d)) + 1),), "2 of 4 are empty"),
        ((lambda d: (sum(there(d)), without(d), 2),), "is 4.5, found 18"),
        ((lambda d: (with_zero(d), sum(there(d)), 2),), "is 9, found 18"),
        ((zero_is_empty,), "ask for `is None`"),
        ((lambda d: sum(d) / len(d),), "your function stopped with TypeError"),
        ((lambda d: with_zero(d),), "three numbers"),
    ],
    "exercise_3": [
        ((lambda t, k: (ordered(t, k)[0]["method"], 1.5),), "asked is the one after it"),
        ((lambda t, k: (ordered(t, k, ())[0]["method"], 1.5),), "the second from above"),
        ((lambda t, k: ("S", 1.5),), "R has 88.5"),
        ((lambda t, k: (signed(t, k)[0], -1.5),), "a positive number"),
        ((over_the_last,), "over the last method"),
        ((lambda t, k: ("R", 0.1),), "is 1.5, found 0.1"),
        ((lambda t, k: ("R", 1.5),), "2 ahead of R"),
        ((lambda t, k: ("R" if k == "dice" else "P", 1.5),), "less is better"),
        ((signed,), "the lead stays positive"),
        ((always_most,), "the best is the smallest value"),
        ((by_dice,), "by asd R"),
        (
            (lambda t, k: signed(t, k) if k == "dice" else (ordered(t, k, ())[1]["method"], 2.0),),
            "is `key` used",
        ),
        ((lambda t, k: "R",), "two answers"),
        ((lambda t, k: (1.5, "R"),), "the name first"),
    ],
}
