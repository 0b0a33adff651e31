"""Pickles of EDM's kind: what is read, and that nothing in them is run."""

import io
import pickle
import sys
import types

import edm_reference
import numpy as np
import pytest
import torch
from edm_reference import CASES, FORMS, LEVELS, OUTPUTS
from torch import nn

import smoothscore as ss
from smoothscore.networks import SongUNet

SOURCE = "raise SystemExit('the source code in a pickle was run')"
NAMES = {
    "width": "model_channels",
    "multipliers": "channel_mult",
    "hidden": "channel_mult_emb",
    "blocks": "num_blocks",
    "attention": "attn_resolutions",
    "embedding": "embedding_type",
    "embedding_width": "channel_mult_noise",
    "encoder": "encoder_type",
    "decoder": "decoder_type",
    "taps": "resample_filter",
    "classes": "label_dim",
    "augmentation": "augment_dim",
}
REFERENCE = np.load(OUTPUTS)


def reconstruct(meta):
    raise AssertionError("the function that a pickle names was called")


@pytest.fixture(autouse=True)
def persistence(monkeypatch):
    """A module under the name by which EDM's pickles call their reader."""
    module = types.ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = reconstruct
    monkeypatch.setattr(reconstruct, "__module__", "torch_utils.persistence")
    monkeypatch.setattr(reconstruct, "__qualname__", "_reconstruct_persistent_obj")
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)


class Persistent:
    """Pickled as EDM pickles its objects: a call with the class's source, its name and the object's attributes."""

    def __init__(self, kind, state):
        self.kind, self.state = kind, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.kind, "state": self.state}
        return reconstruct, (meta,), None


def persistent(module, kind, **attributes):
    """A module and all its modules, as EDM would pickle them; containers stay torch's own."""
    state = {name: module.__dict__[name] for name in nn.Module().__dict__} | attributes
    state["_modules"] = {name: child_of(child) for name, child in module._modules.items() if child is not None}
    state["scale"] = np.sqrt(0.5)
    return Persistent(kind, state)


def child_of(module):
    if isinstance(module, nn.ModuleDict):
        container = nn.ModuleDict()
        container._modules = {name: child_of(child) for name, child in module._modules.items()}
        return container
    return persistent(module, type(module).__name__)


def edm(case="ddpmpp", kind="EDMPrecond", network="SongUNet", **attributes):
    """EDM's preconditioned network of a case, with the weights of the reference."""
    unet = SongUNet(edm_reference.SHAPE, **CASES[case])
    with torch.no_grad():
        edm_reference.fill(unet)
    options = {NAMES[name]: value for name, value in CASES[case].items() if name in NAMES}
    arguments = {"img_resolution": 16, "in_channels": 3, "out_channels": 3, **options}
    model = persistent(unet, network, _init_args=(), _init_kwargs=arguments)
    state = {**nn.Module().__dict__, "_modules": {"model": model}, "sigma_data": 0.5, "_init_kwargs": {}, **attributes}
    return Persistent(kind, state)


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return f"edm:{path}"


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", FORMS)
def test_a_checkpoint_denoises_as_in_the_reference(tmp_path, kind, protocol):
    score = ss.load_score(
        write(tmp_path / "network.pkl", {"ema": edm(kind=kind), "loss_fn": Persistent("EDMLoss", {})}, protocol)
    )
    x = edm_reference.inputs("ddpmpp")["x"][:1]
    for sigma, expected in zip(LEVELS, REFERENCE[kind], strict=True):
        ours = score.denoise(x * (0.25 + sigma**2) ** 0.5, sigma)[0].detach().numpy()
        assert np.abs(ours - expected).max() < 1e-5 * max(1, np.abs(expected).max())


def test_averaged_weights_are_preferred_and_a_bare_network_is_taken(tmp_path):
    good, other = edm(), Persistent("Nothing", {})
    expected = ss.load_score(write(tmp_path / "bare.pkl", good)).network.state_dict()
    for content in ({"ema": good, "net": other}, {"net": good, "loss_fn": None}, {"model": good}):
        state = ss.load_score(write(tmp_path / "file.pkl", content)).network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_tensors_of_any_type_and_layout_are_read(tmp_path, dtype):
    from smoothscore.networks.edm_pickle import read_edm_pickle

    values = torch.arange(12).reshape(3, 4).to(dtype)
    network = edm()
    network.state["_buffers"] = {"plain": values, "turned": values.T, "part": values[1:, ::2], "none": values[:0]}
    write(tmp_path / "file.pkl", network)
    _, tensors = read_edm_pickle(tmp_path / "file.pkl")
    for name, value in network.state["_buffers"].items():
        assert tensors[name].dtype == dtype
        assert torch.equal(tensors[name], value)


def test_weights_that_the_options_do_not_have_are_refused(tmp_path):
    unet = edm()
    unet.state["_modules"]["model"].state["_parameters"]["unknown"] = nn.Parameter(torch.ones(3).half())
    with pytest.raises(ss.InputError, match=r"do not fit its options.*unknown"):
        ss.load_score(write(tmp_path / "file.pkl", {"ema": unet}))


def test_a_class_is_chosen_by_its_number(tmp_path):
    spec = write(tmp_path / "labels.pkl", {"ema": edm("labels")})
    x = torch.randn(1, *edm_reference.SHAPE)
    none, second = ss.load_score(spec), ss.load_score(f"{spec}?class_=1")
    label = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    expected = ss.networks.EDM().denoise(none.network, x, 0.7, class_labels=label)
    assert torch.equal(second.denoise(x, 0.7), expected)
    assert not torch.allclose(none.denoise(x, 0.7), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ema": edm(kind="iDDPMPrecond")}, "iDDPMPrecond"),
        ({"ema": edm(kind="VPPrecond", M=500)}, "M = 500 timesteps"),
        ({"ema": edm(network="DhariwalUNet")}, "is a DhariwalUNet"),
        ({"weights": 1}, "holds no network"),
        ({"ema": edm(_modules=3)}, "without its tables"),
        ({"ema": edm(sigma_data=np.float64(0.5))}, "sigma_data in .* is no plain number"),
        ([1, 2], "holds no network"),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path, content, message):
    with pytest.raises(ss.InputError, match=message):
        ss.load_score(write(tmp_path / "file.pkl", content))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_channels": 10**9}, "do not fit its options"),
        ({"num_blocks": 10**9}, "do not fit its options .1000000000 blocks"),
        ({"channel_mult": [1] * 10**6}, "do not fit its options .* at 1000000 resolutions"),
        ({"label_dim": 10**12}, "map_label.*is nothing, not"),
        ({"model_channels": "16"}, "width of a U-Net is '16'"),
        ({"use_attention": True}, "has the option 'use_attention'"),
    ],
)
def test_options_ask_for_no_more_than_the_weights_fill(tmp_path, options, message):
    network = edm()
    network.state["_modules"]["model"].state["_init_kwargs"] |= options
    with pytest.raises(ss.InputError, match=message):
        ss.load_score(write(tmp_path / "file.pkl", {"ema": network}))


def test_the_memo_of_a_pickle_is_no_larger_than_the_file(tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(b"\x80\x02]r" + (2**26).to_bytes(4, "little") + b".")
    with pytest.raises(ss.InputError, match="a memo larger than the file"):
        ss.load_score(f"edm:{path}")


class Call:
    """Pickled as a call of a function with some arguments."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(flag):
    import os

    import torch.utils.collect_env

    open_flag = (str(flag), "w")
    yield Call(os.system, f"touch {flag}")
    yield Call(eval, f"open({str(flag)!r}, 'w')")
    yield Call(exec, f"open({str(flag)!r}, 'w')")
    yield Call(open, *open_flag)
    yield Call(getattr, Call(__import__, "os"), "system")
    yield Call(torch.load, str(flag))
    yield Call(torch.utils.collect_env.run, f"touch {flag}")
    yield Call(np.load, str(flag), None, True)
    yield Call(nn.Linear, 2, 2)


def test_a_hostile_pickle_does_nothing(tmp_path):
    """Each call stands beside, and within, a network that would be read without it."""
    flag = tmp_path / "flag"
    for index, call in enumerate(hostile(flag)):
        for content in ({"ema": edm(), "extra": call}, {"ema": edm(extra=call)}):
            with pytest.raises(ss.InputError, match="it is not read"):
                ss.load_score(write(tmp_path / f"{index}.pkl", content))
    assert not flag.exists()


def storage_bytes(obj):
    """What the bytes of a storage would be, with another object in place of the storage."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {}, obj, ["0"])
    return b"".join(pickle.dumps(part, protocol=2) for part in parts)


def test_the_bytes_of_a_storage_are_read_as_carefully(tmp_path):
    import os

    flag = tmp_path / "flag"
    data = storage_bytes(Call(os.system, f"touch {flag}"))
    with pytest.raises(ss.InputError, match="system"):
        ss.load_score(write(tmp_path / "file.pkl", {"ema": edm(), "x": Call(torch.storage._load_from_bytes, data)}))
    assert not flag.exists()


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    for size, stride, offset in (((1000,), (1,), 0), ((2,), (1,), 3), ((2,), (1,), -1), ((2, 2), (3, 3), 0)):
        call = Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, {})
        with pytest.raises(ss.InputError, match="is damaged"):
            ss.load_score(write(tmp_path / "file.pkl", {"ema": edm(), "x": call}))


def test_a_truncated_file_is_refused(tmp_path):
    data = pickle.dumps({"ema": edm()})
    for length in (0, 10, len(data) // 2, len(data) - 1):
        (tmp_path / "file.pkl").write_bytes(data[:length])
        with pytest.raises(ss.InputError, match="is damaged"):
            ss.load_score(f"edm:{tmp_path / 'file.pkl'}")
    with pytest.raises(ss.InputError, match="Cannot read"):
        ss.load_score(f"edm:{tmp_path / 'missing.pkl'}")


def test_reading_leaves_the_reader_as_it_was(tmp_path):
    """A pickle that sets attributes of what it names changes neither containers nor functions for the next one."""
    from smoothscore.networks import edm_pickle

    for (module, name), value in edm_pickle.KNOWN.items():
        stream = io.BytesIO()
        stream.write(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"}(X\x08\x00\x00\x00function")
        stream.write(b"K\x01ub.")
        (tmp_path / "file.pkl").write_bytes(stream.getvalue())
        before = dict(vars(value))
        with pytest.raises(ss.InputError):
            ss.load_score(f"edm:{tmp_path / 'file.pkl'}")
        assert dict(vars(value)) == before
    assert ss.load_score(write(tmp_path / "good.pkl", {"ema": edm()})).shape == (3, 16, 16)


def test_a_network_in_memory_is_wrapped():
    class InMemory(nn.Module):
        img_channels, img_resolution, label_dim = 3, 8, 2

        def forward(self, x, sigma, class_labels=None):
            return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2) + class_labels[:, 1].reshape(-1, 1, 1, 1)

    x = torch.randn(2, 3, 8, 8)
    levels = torch.tensor([0.5, 2.0])
    exact = x / (1 + levels[:, None, None, None] ** 2)
    assert torch.allclose(ss.EDMScore.wrap(InMemory()).denoise(x, levels), exact)
    assert torch.allclose(ss.EDMScore.wrap(InMemory(), class_=1).denoise(x, levels), exact + 1)
