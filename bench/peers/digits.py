"""Spoken digits as the PyTorch peers read them: decoding, the official training split, and augmented log-mel views.

Views are made in two ways, one clip at a time and a batch at a time, because which is faster depends on the machine;
the peers use the faster one.
"""

import re
import wave
from pathlib import Path

import torch
import torchaudio
from torch import Tensor
from torch.utils.data import Dataset

from errors import fail

SAMPLE_RATE = 8_000
CLIP_SAMPLES = SAMPLE_RATE
N_FFT = 256
HOP_LENGTH = 80
NUM_MELS = 64
NUM_FRAMES = CLIP_SAMPLES // HOP_LENGTH + 1
LOG_OFFSET = 1e-6
GAIN_DB = (-6.0, 6.0)
SNR_DB = (10.0, 40.0)
MAX_FREQ_WIDTH = 12
MAX_TIME_WIDTH = 20

FILE_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav")
FIRST_TRAINING_TAKE = 5


def training_files(root: Path) -> list[Path]:
    """Recordings of the official training split (takes 5 and later), in the order of their names."""
    matches = ((path, FILE_NAME.fullmatch(path.name)) for path in root.rglob("*.wav"))
    files = sorted(path for path, match in matches if match and int(match["take"]) >= FIRST_TRAINING_TAKE)
    if not files:
        fail(
            f"no recordings of the spoken digits below `{root}`",
            "point `--data-root` at a copy of the Free Spoken Digit Dataset (files such as `7_jackson_32.wav`)",
        )
    return files


def decode(path: Path) -> Tensor:
    """Samples in [-1, 1), shape (num_samples,). torchaudio 2.11 leaves decoding to TorchCodec; for 16-bit PCM the
    standard library needs no further package and is faster."""
    try:
        with wave.open(str(path), "rb") as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        fail(f"cannot read `{path}`: {error}", "remove the file or fetch the data set again")
    if kind != (1, 2, SAMPLE_RATE) or not data:
        fail(f"`{path}` is not 16-bit mono at {SAMPLE_RATE} Hz", "the peers read the Free Spoken Digit Dataset only")
    return torch.frombuffer(bytearray(data), dtype=torch.int16).float().div_(32768.0)


class Recordings(Dataset):
    """Decoded recordings, each decoded once per process and then kept."""

    def __init__(self, files: list[Path]):
        self.files = files
        self.decoded: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        if index not in self.decoded:
            self.decoded[index] = decode(self.files[index])
        return self.decoded[index]


class Views:
    """Random views of recordings: crop or pad, gain, Gaussian noise, log-mel, normalization per view, two masks."""

    def __init__(self):
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=NUM_MELS
        )
        self.mask_frequency = torchaudio.transforms.FrequencyMasking(MAX_FREQ_WIDTH, iid_masks=True)
        self.mask_time = torchaudio.transforms.TimeMasking(MAX_TIME_WIDTH, iid_masks=True)

    def batched(self, recordings: list[Tensor]) -> Tensor:
        """One view of each recording, shape (num_recordings, 1, NUM_MELS, NUM_FRAMES)."""
        num = len(recordings)
        clips = torch.zeros(num, CLIP_SAMPLES)
        for clip, recording, place in zip(clips, recordings, torch.rand(num).tolist()):
            crop_or_pad(clip, recording, place)
        clips *= torch.pow(10.0, uniform(num, GAIN_DB) / 20.0).unsqueeze(1)
        clips = torchaudio.functional.add_noise(clips, torch.randn_like(clips), uniform(num, SNR_DB))
        spectrograms = self.mel(clips).add_(LOG_OFFSET).log_().unsqueeze(1)
        std, mean = torch.std_mean(spectrograms, dim=(1, 2, 3), keepdim=True)
        spectrograms = spectrograms.sub_(mean).div_(std.clamp_min_(1e-5))
        return self.mask_time(self.mask_frequency(spectrograms))

    def single(self, recording: Tensor) -> Tensor:
        """One view of one recording, shape (1, NUM_MELS, NUM_FRAMES)."""
        clip = torch.zeros(CLIP_SAMPLES)
        crop_or_pad(clip, recording, torch.rand(()).item())
        clip *= 10.0 ** (uniform(1, GAIN_DB).item() / 20.0)
        clip = torchaudio.functional.add_noise(clip, torch.randn_like(clip), uniform(1, SNR_DB).squeeze(0))
        spectrogram = self.mel(clip).add_(LOG_OFFSET).log_().unsqueeze(0)
        std, mean = torch.std_mean(spectrogram)
        spectrogram = spectrogram.sub_(mean).div_(std.clamp_min_(1e-5))
        return self.mask_time(self.mask_frequency(spectrogram))


def crop_or_pad(clip: Tensor, recording: Tensor, place: float) -> None:
    """Copies a random part of a long recording, or a short recording to a random place; `place` is in [0, 1)."""
    surplus = recording.numel() - clip.numel()
    if surplus >= 0:
        start = int(place * (surplus + 1))
        clip.copy_(recording[start : start + clip.numel()])
    else:
        start = int(place * (1 - surplus))
        clip[start : start + recording.numel()] = recording


def uniform(num: int, bounds: tuple[float, float]) -> Tensor:
    """`num` independent draws."""
    return torch.empty(num).uniform_(*bounds)
