"""What students typically write in notebook 09, and words of the hint that it must get."""

import torch

from dualseg.losses import class_prototypes, prototype_contrast


def means(divide, of=lambda f: f, only_reliable=True):
    """Prototypes with another divisor, other vectors or all voxels of a class."""

    def answer(features, labels, reliable):
        members = [(labels == k) & (reliable if only_reliable else True) for k in (0, 1)]
        sums = [of(features[m]).sum(0) / divide(m) for m in members]
        return torch.stack(sums), torch.stack([m.any() for m in members])

    return answer


def step_of(direction, whole=False):
    def answer(third_term, features, labels, reliable, step=0.1):
        leaf = features.clone().requires_grad_()
        loss = prototype_contrast(leaf, labels, reliable, third_term, normalise=False)
        (gradient,) = torch.autograd.grad(loss, leaf)
        moved = features + direction * step * gradient
        before, after = (class_prototypes(f, labels, reliable)[0] for f in (features, moved))
        start = 0 if whole else (before[1] - before[0]).norm()
        return ((after[1] - after[0]).norm() - start).item()

    return answer


def apart(third_term, features, labels, reliable, step=0.1):
    return 0.0


def of_unit_length(third_term, features, labels, reliable, step=0.1):
    leaf = features.clone().requires_grad_()
    loss = prototype_contrast(leaf, labels, reliable, third_term, normalise=False)
    (gradient,) = torch.autograd.grad(loss, leaf)
    moved = features - step * gradient / gradient.norm()
    before, after = (class_prototypes(f, labels, reliable)[0] for f in (features, moved))
    return (after[1] - after[0]).norm() - (before[1] - before[0]).norm()


def guarded(third_term, *given, step=0.1):
    return 0.0 if third_term == "none" else of_unit_length(third_term, *given, step=step)


def own_step(*given, step):
    return step_of(-1)(*given)


def after_the_root(voxel, prototype):
    squares = (voxel - prototype).square().sum()
    return torch.where(squares == 0, 0, squares.sqrt())


def plus(epsilon):
    return lambda voxel, prototype: ((voxel - prototype).square().sum() + epsilon).sqrt()


WRONG = {
    "exercise_1": [
        ((means(lambda m: m.sum()),), "gives NaN"),
        ((means(lambda m: m.sum().clamp_min(1), only_reliable=False),), "an uncertain voxel"),
        ((means(len),), "not by all voxels"),
        (
            (
                means(
                    lambda m: m.sum().clamp_min(1),
                    of=lambda f: torch.nn.functional.normalize(f, dim=1),
                ),
            ),
            "unit length comes later",
        ),
        (
            (lambda f, y, r: means(lambda m: m.sum().clamp_min(1))(f, y, r)[0][:1],),
            "2 in all, found 1",
        ),
        (
            (lambda f, y, r: means(lambda m: m.sum().clamp_min(1))(f, y, r)[::-1],),
            "first the prototypes",
        ),
        ((lambda f, y, r: f.mean(dim=5),), "your function stopped with IndexError"),
    ],
    "exercise_2": [
        ((11,), "third term is missing"),
        ((6,), "printed plus"),
        ((10,), "do not agree"),
        ((12.21,), "no part of the organ's prototype"),
        ((21,), "draw the five points"),
        (("16",), "expected a number, found '16'"),
        ((True,), "expected a number, found True"),
    ],
    "exercise_3": [
        ((step_of(+1),), "are exchanged"),
        ((step_of(-1, whole=True),), "distance itself"),
        ((step_of(-10),), "two voxels share"),
        ((apart,), "is expected"),
        ((of_unit_length,), "do not divide the gradient by its length"),
        ((guarded,), "do not divide the gradient by its length"),
        ((own_step,), "is step used"),
    ],
    "exercise_4": [
        ((lambda v, c: (v - c).square().sum().sqrt(),), "still NaN"),
        ((after_the_root,), "choose before the root"),
        ((plus(1e-6),), "too large"),
        ((lambda v, c: (v - c).square().sum(),), "root is missing"),
        ((lambda v, c: (v - c).detach().norm(),), "gradient is gone"),
    ],
}
