"""What students typically write in notebook 11, and words of the hint that it must get."""

import numpy as np


def by_the_mean(log, total):
    times = [line["seconds"] for line in log]
    return np.mean(np.diff(times)) * (total - log[-1]["step"])


def by_the_last(log, total):
    return log[-1]["seconds"] / len(log) * (total - len(log))


def of_all(log, total):
    return np.median(np.diff([line["seconds"] for line in log])) * total


def by_lines(log, total):
    return np.median(np.diff([line["seconds"] for line in log])) * (total - len(log))


def by_one(of_steps):
    def seconds_left(log, total):
        steps = np.diff([line["seconds"] for line in log])
        return of_steps(steps) * (total - log[-1]["step"])

    return seconds_left


def with_the_start(log, total):
    steps = np.diff([0, *(line["seconds"] for line in log)])
    return np.median(steps) * (total - log[-1]["step"])


def judge_with(share=0.95, times=1.5, of=np.mean, absolute=False):
    def judge(values, floor):
        n = len(values)
        before, last = of(values[n // 2 : 3 * n // 4]), of(values[3 * n // 4 :])
        if last < (before - 0.05 if absolute else share * before):
            return "slow"
        return "high" if last > times * floor else "done"

    return judge


def judge_by(fallen):
    def judge(values, floor):
        if fallen(values):
            return "slow"
        return "high" if np.mean(values[3 * len(values) // 4 :]) > 1.5 * floor else "done"

    return judge


def quarters(values):
    n = len(values)
    return np.mean(values[n // 2 : 3 * n // 4]), np.mean(values[3 * n // 4 :])


def any_fall(values):
    before, last = quarters(values)
    return last < before - 1e-9


def no_floor(values, floor):
    before, last = quarters(values)
    return "slow" if last < 0.95 * before else "high" if last > 0.5 else "done"


def last_step(values, floor):
    before, last = quarters(values)
    return "slow" if last < 0.95 * before else "high" if values[-1] > 1.5 * floor else "done"


WRONG = {
    "exercise_1": [
        ((1000, 107), "not 1"),
        ((4000, 214), "only 2 are of labeled"),
        ((2000, 6000 * 2 / 62), "those that are left"),
        ((2000, 2000), "56 cases share"),
        ((193.5, 214.3), "6000 x 2 / 6"),
        (([2000], 214.3), "a number for each"),
    ],
    "exercise_2": [
        ((by_the_mean,), "the median does not"),
        ((by_the_last,), "slow first step"),
        ((of_all,), "done already"),
        ((by_lines,), "begin later"),
        ((by_one(lambda steps: steps[0]),), "one step's time"),
        ((by_one(lambda steps: steps[-1]),), "one step's time"),
        ((by_one(min),), "one step's time"),
        ((with_the_start,), "slow first step are among"),
        ((lambda log, total: log["seconds"],), "your function stopped with TypeError"),
        ((lambda log, total: 0.0,), "200 seconds"),
        ((lambda log, total: [200.0],), "one number"),
    ],
    "exercise_3": [
        ((0,), "where her finished training ended"),
        ((0.05,), "the rate of step 0"),
        ((0.03,), "the power 0.9"),
        ((0.05 * 0.4**0.9,), "the fraction that is left"),
        ((0.01,), "0.6"),
        ((0.05 * (1 - 401 / 1000) ** 0.9,), "step 401, or it is cut off"),
        ((0.0315,), "cut off"),
        ((0.0317,), "three significant digits"),
        ((0.032,), "three significant digits"),
        (("0.0316",), "one learning rate, found '0.0316'"),
    ],
    "exercise_4": [
        ((judge_by(lambda values: values[-1] < 0.95 * values[0]),), "first half only"),
        ((judge_by(any_fall),), "less than a twentieth"),
        ((no_floor,), "near what these networks can reach"),
        ((last_step,), "no quarter of a training"),
        ((judge_with(share=0.9),), "6 % lower"),
        ((judge_with(share=0.8),), "6 % lower"),
        ((judge_with(times=2),), "1.7 times"),
        ((judge_with(of=np.median),), "its median is not"),
        ((judge_with(absolute=True),), "0.37 is 7 % lower"),
        ((lambda values, floor: 1,), "one of slow, high, done, found 1"),
        ((lambda values, floor: "slow",), "far above"),
        ((lambda values, floor: "high",), "falls to the end"),
    ],
}
