from __future__ import annotations

import numpy as np
import pytest

from netdsl.ir.init import ARITY, Init
from netdsl.ir.net import Parameter
from netdsl.weights import draw as module
from netdsl.weights.draw import BLOCK_ELEMENTS, draw, draw_all

ROOT3 = 3**0.5


def parameter(init, shape=(300, 400), name="conv1.weight", fan_in=400, fan_out=300):
    return Parameter(name, shape, init, fan_in=fan_in, fan_out=fan_out)


def drawn(p, seed=0):
    return np.concatenate(list(draw(p, seed)))


# The textbook deviations; a uniform distribution on [-b, b] has b/sqrt(3).
MOMENTS = [
    (Init("he_normal"), 0, (2 / 400) ** 0.5, np.inf),
    (Init("xavier_normal"), 0, (2 / 700) ** 0.5, np.inf),
    (Init("normal", 0.01), 0, 0.01, np.inf),
    (Init("he_uniform"), 0, (6 / 400) ** 0.5 / ROOT3, (6 / 400) ** 0.5),
    (Init("xavier_uniform"), 0, (6 / 700) ** 0.5 / ROOT3, (6 / 700) ** 0.5),
    (Init("uniform", 1.0, 3.0), 2, 1 / ROOT3, 3),
]


@pytest.mark.parametrize(("init", "mean", "deviation", "bound"), MOMENTS, ids=str)
def test_moments(init, mean, deviation, bound):
    x = drawn(parameter(init)).astype(np.float64)
    z = (x - mean) / deviation
    n = x.size
    # Five standard errors of each estimate.
    assert abs(z.mean()) < 5 / n**0.5
    assert abs((z**2).mean() - 1) < 5 * ((z**4).mean() - 1) ** 0.5 / n**0.5
    assert abs(x).max() <= bound
    kurtosis = 3.0 if "normal" in init.name else 1.8
    assert abs((z**4).mean() - kurtosis) < 0.1
    assert abs((z[1:] * z[:-1]).mean()) < 5 / n**0.5


@pytest.mark.parametrize(
    ("init", "value"), [(Init("zeros"), 0), (Init("ones"), 1), (Init("constant", -2.5), -2.5)], ids=str
)
def test_constants(init, value):
    assert set(drawn(parameter(init))) == {np.float32(value)}


@pytest.mark.parametrize("shape", [(40, 40), (20, 50), (50, 20), (16, 3, 3, 3), (64, 2, 3, 3)])
def test_orthogonal(shape):
    w = drawn(parameter(Init("orthogonal"), shape)).reshape(shape[0], -1).astype(np.float64)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)


def test_a_truncated_normal_ends_at_two_deviations():
    """Its variance is that of scipy.stats.truncnorm(-2, 2): 0.77374."""
    x = drawn(parameter(Init("trunc_normal", 0.02))).astype(np.float64) / 0.02
    assert 1.99 < np.abs(x).max() <= 2
    assert abs(x.mean()) < 5 * (0.774 / x.size) ** 0.5
    assert abs(x.var() - 0.77374) < 5 * (x**2).std() / x.size**0.5


def test_sinusoids():
    table = drawn(parameter(Init("sinusoid"), (5000, 512))).reshape(5000, 512)
    at = np.arange(5000)[:, None] / 10000 ** (np.arange(0, 512, 2) / 512)
    np.testing.assert_allclose(table[:, ::2], np.sin(at), atol=1e-6)
    np.testing.assert_allclose(table[:, 1::2], np.cos(at), atol=1e-6)


def test_sinusoids_of_an_odd_width():
    table = drawn(parameter(Init("sinusoid"), (2, 3))).reshape(2, 3)
    np.testing.assert_allclose(table, [[0, 1, 0], [np.sin(1), np.cos(1), np.sin(10000 ** (-2 / 3))]], atol=1e-7)


def test_bilinear_kernels():
    """The kernels of FCN's code, surgery.py: upsample_filt."""
    four, three = np.array([0.25, 0.75, 0.75, 0.25]), np.array([0.5, 1, 0.5])
    kernels = drawn(parameter(Init("bilinear"), (3, 3, 4, 3))).reshape(3, 3, 4, 3)
    np.testing.assert_allclose(kernels, np.einsum("ij,h,w->ijhw", np.eye(3), four, three))
    np.testing.assert_allclose(drawn(parameter(Init("bilinear"), (2, 1, 4))).reshape(2, 4), [four, four])


def test_orthogonal_signs_are_even():
    """Without the correction of signs, LAPACK's Q has a diagonal of one sign."""
    traces = [
        np.sign(drawn(parameter(Init("orthogonal"), (8, 8), f"w{i}")).reshape(8, 8).diagonal()) for i in range(50)
    ]
    assert abs(np.mean(traces)) < 0.25


@pytest.mark.parametrize("name", ARITY)
def test_every_initialiser_gives_all_elements_in_float32(name):
    init = Init(name, *(0.25, 0.75)[: ARITY[name]])
    x = drawn(parameter(init, (5, 7)))
    assert (x.dtype, x.shape) == (np.float32, (35,))


def test_a_weight_depends_on_the_seed_and_its_name_alone():
    p = parameter(Init("he_normal"))
    x = drawn(p)
    np.testing.assert_array_equal(x, drawn(parameter(Init("he_normal"))))
    assert not np.array_equal(x, drawn(p, 1))
    other = drawn(parameter(Init("he_normal"), name="conv2.weight"))
    assert abs(np.corrcoef(x, other)[0, 1]) < 5 / x.size**0.5
    alone = {name: np.concatenate(list(blocks)) for name, blocks in draw_all([p], 0)}
    among = [parameter(Init("he_uniform"), name=name) for name in ("a", "b")]
    beside = {name: np.concatenate(list(blocks)) for name, blocks in draw_all([among[0], p, among[1]], 0)}
    np.testing.assert_array_equal(alone[p.name], beside[p.name])


def test_blocks_are_independent_of_each_other():
    p = parameter(Init("normal", 1.0), (2 * BLOCK_ELEMENTS + 5,))
    first, second, third = draw(p, 0)
    assert [len(b) for b in (first, second, third)] == [BLOCK_ELEMENTS, BLOCK_ELEMENTS, 5]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / BLOCK_ELEMENTS**0.5
    np.testing.assert_array_equal(module._block(p, 0, 2), third)
    # A smaller weight of the same name begins alike: only what lies beyond is new.
    np.testing.assert_array_equal(next(draw(parameter(Init("normal", 1.0), (BLOCK_ELEMENTS + 1,)), 0)), first)


MANY = [
    parameter(Init(name, *(0.5, 0.75)[: ARITY[name]]), (3, 2, 3, 3), f"{name}{i}") for i in range(20) for name in ARITY
]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads):
    large = parameter(Init("he_normal"), (3 * BLOCK_ELEMENTS + 1,), "large")
    parameters = [*MANY, large, parameter(Init("ones"), (3,), "x")]
    order = []
    for (name, blocks), p in zip(draw_all(parameters, 3, threads), parameters, strict=True):
        order.append(name)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), drawn(p, 3))
    assert order == [p.name for p in parameters]


def test_few_blocks_are_drawn_ahead(monkeypatch):
    """However large a net is, memory holds few blocks of it."""
    made = []
    block = module._block
    monkeypatch.setattr(module, "_block", lambda p, seed, index: made.append(index) or block(p, seed, index))
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 10)
    ((_, blocks),) = [next(all_ := draw_all([parameter(Init("he_normal"), (1000,))], 0))]
    for taken, _ in enumerate(blocks, 1):
        assert len(made) <= taken + module.BLOCKS_AHEAD
    assert len(made) == 100
    all_.close()


def test_a_known_draw():
    """Seeds are a promise within a numpy version: these are the first normals of SFC64 under this key."""
    import hashlib

    key = int.from_bytes(hashlib.sha256(b"5\0conv1.weight\0" + b"0").digest(), "little")
    expected = np.random.Generator(np.random.SFC64(key)).standard_normal(4, np.float32) * np.float32(0.5)
    np.testing.assert_array_equal(drawn(parameter(Init("normal", 0.5), (4,)), 5), expected)


def test_arrays_are_filled_block_by_block():
    large, empty = parameter(Init("he_normal"), (3, BLOCK_ELEMENTS), "large"), parameter(Init("ones"), (0, 2), "empty")
    parameters = [*MANY, large, empty]
    found = module.drawn_arrays(parameters, 3)
    assert [(name, array.shape) for name, array in found.items()] == [(p.name, p.shape) for p in parameters]
    for p in parameters[:-1]:
        np.testing.assert_array_equal(found[p.name].reshape(-1), drawn(p, 3))
