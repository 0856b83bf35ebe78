"""The ten classes of Fashion-MNIST, in the order of their indexes, and the answer that is none of them."""

LABELS: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# The answer of a model that is not sure enough of any class.
UNKNOWN = "unknown"
