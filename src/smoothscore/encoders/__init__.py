"""Encoders: images to the vectors between which likeness is measured.

| name                | vectors                                                    | needs                         |
|---------------------|------------------------------------------------------------|-------------------------------|
| `pixel`             | the pixels in [-1, 1], at their own size                   |                               |
| `pca:DIM`           | the first DIM principal components of the training images  |                               |
| `efficientnet-lite0`| 1,280 pooled features of ImageNet's EfficientNet-Lite0     | `smoothscore[encoders]`       |
| `inception`         | the 2,048 features of Inception-v3 that the FID is of      | `smoothscore[fid]`, weights   |
| `timm:NAME`         | pooled features of a pretrained timm model                 | `timm`, its weights           |
| `torchvision:NAME`  | what enters the last linear layer of a torchvision model   | `torchvision`, its weights    |
| `torchscript:FILE`  | the output of a TorchScript file, flattened                |                               |
| `onnx:FILE`         | the first output of an ONNX file, flattened                | `onnxruntime`                 |

The files take images as they are, (n, C, H, W) in [-1, 1]; the pretrained networks get three channels at the size and
range they were trained with. Features of an ImageSet are kept in the cache, under the fingerprints of images and
encoder.
"""

from smoothscore.encoders.base import PIXEL, Encoder
from smoothscore.encoders.named import encoder

__all__ = ["PIXEL", "Encoder", "encoder"]
