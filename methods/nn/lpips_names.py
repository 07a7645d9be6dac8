"""Where the weights of LPIPS and its networks are published; imports no torch."""

_HEADS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
NETWORKS = {
    "vgg": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "alex": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "squeeze": "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
}
"""torchvision's ImageNet weights of each network."""
HEADS = {
    "vgg": f"{_HEADS}/vgg.pth#sha256=a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "alex": f"{_HEADS}/alex.pth#sha256=df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "squeeze": f"{_HEADS}/squeeze.pth#sha256=4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
}
"""LPIPS' linear weights, version 0.1."""
