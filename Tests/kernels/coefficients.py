#!/usr/bin/env python3
"""How the coefficients in Sources/Kernels/Mathematics.swift were found; prints them with the error they leave.

Each is a polynomial of least largest relative error on an interval (Lawson's iteration: least squares whose
weights move to where the error is largest). The coefficients become single precision one after the other, the
lowest power first, and those that remain are fitted anew each time, so that rounding costs next to nothing.

Needs numpy and mpmath.
"""
import mpmath as mp
import numpy as np

mp.mp.dps = 40


def minimax(terms, target, scale):
    """Coefficients c that make |Σ c·terms − target| / scale least at its largest; arrays over the nodes."""
    weight = np.full(len(target), 1.0 / len(target))
    best, least = None, np.inf
    for _ in range(400):
        root = np.sqrt(weight) / scale
        c = np.linalg.lstsq((terms * root[:, None]).astype(float), (target * root).astype(float), rcond=None)[0]
        for _ in range(2):  # refine in extended precision
            rest = (target - terms @ c.astype(np.longdouble)) * root
            c = c + np.linalg.lstsq((terms * root[:, None]).astype(float), rest.astype(float), rcond=None)[0]
        error = np.abs((terms @ c.astype(np.longdouble) - target) / scale)
        if error.max() < least:
            best, least = c, error.max()
        weight = weight * error.astype(float)
        weight /= weight.sum()
    return best, least


def fit(name, function, low, high, powers, relative_to, nodes=1500):
    """Fits function(x) by Σ c_i·x^powers[i] on [low, high]; the error is measured relative to relative_to(x)."""
    t = [(mp.mpf(low) + high) / 2 + (mp.mpf(high) - low) / 2 * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / nodes)
         for i in range(nodes)]
    longdouble = lambda values: np.array([np.longdouble(mp.nstr(v, 30)) for v in values])
    x = longdouble(t)
    target = longdouble([function(v) for v in t])
    scale = np.abs(longdouble([relative_to(v) for v in t]))
    terms = np.stack([x ** p for p in powers], axis=1)
    fixed = []
    for i in range(len(powers)):
        rest = target - terms[:, :i] @ np.array(fixed, dtype=np.longdouble)
        c, _ = minimax(terms[:, i:], rest, scale)
        fixed.append(np.float32(c[0]))
    error = np.abs(terms @ np.array(fixed, dtype=np.longdouble) - target) / scale
    print(f"{name}: largest relative error 2^{float(np.log2(error.max())):.2f}")
    for p, c in zip(powers, fixed):
        print(f"    x^{p:<2d} {float(c):+.9g}  {float(c).hex()}")
    return fixed


def split(name, value, bits):
    """value = high + low, high of so few bits that its products with small integers are exact."""
    exponent = int(mp.floor(mp.log(value, 2))) + 1
    high = mp.floor(mp.ldexp(value, bits - exponent)) * mp.ldexp(1, exponent - bits)
    print(f"{name}: {float(high).hex()} + {float(np.float32(float(value - high))).hex()}")


split("ln 2", mp.log(2), 15)
split("ln 2", mp.log(2), 24)
print(f"log2 e: {float(np.float32(float(1 / mp.log(2)))).hex()}")

# e^r = 1 + r + r²·q(r), as close relative to e^r − 1 as to e^r, so that expm1 and tanh use it too.
half = mp.log(2) / 2 * (1 + mp.mpf(2) ** -18)
fit("e^r: q", lambda r: (mp.expm1(r) - r) / r ** 2, -half, half, range(5), lambda r: mp.expm1(r) / r ** 2)

# log(1 + f) = f + f²·p(f)
fit("log(1+f): p", lambda f: (mp.log1p(f) - f) / f ** 2, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, range(9),
    lambda f: mp.log1p(f) / f ** 2)

# tanh(x) = x + x³·t(x²)
fit("tanh: t", lambda s: (mp.tanh(mp.sqrt(s)) / mp.sqrt(s) - 1) / s, mp.mpf(1) / 10 ** 6, mp.mpf("0.36"), range(5),
    lambda s: (mp.tanh(mp.sqrt(s)) / mp.sqrt(s) - 1) / s)

# Φ(−x) = e^(−x²/2)·t·b(t), t = 1 / (1 + x/2)
def normal_tail(t):
    x = 2 * (1 / t - 1)
    return mp.erfc(x / mp.sqrt(2)) / 2 * mp.exp(x * x / 2) / t


fit("normal tail: b", normal_tail, 1 / (1 + mp.mpf("14.5") / 2), 1, range(10), normal_tail)
