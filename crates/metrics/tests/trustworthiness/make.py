"""Makes points_and_maps.txt: points, maps of them, and scikit-learn's trustworthiness of both ways.

    pip install -r requirements.txt && python make.py > points_and_maps.txt
"""

import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

CASES = [("noise", 40, 5, (1, 5, 19)), ("swiss", 60, 3, (3, 12)), ("far", 50, 8, (7,))]


def case(name, n, d):
    random = np.random.RandomState(n)
    if name == "swiss":
        turn, height = 4 + 9 * random.rand(n), 8 * random.rand(n)
        points = np.stack([turn * np.cos(turn), height, turn * np.sin(turn)], axis=1)
        return points, np.stack([turn, height], axis=1)
    points = random.randn(n, d) + (1000 if name == "far" else 0)
    if name == "far":  # neighbours far from the origin, where squared norms cancel
        return points, PCA(2, random_state=0).fit_transform(points)
    return points, random.randn(n, 2)


def main():
    print(f"# scikit-learn {sklearn.__version__}, numpy {np.__version__}, by make.py")
    for name, n, d, ks in CASES:
        # Both rounded to what is written, so that all readers start from the same numbers.
        points, shown = (np.round(a, 3).astype(np.float32) for a in case(name, n, d))
        print(f"case {name} {n} {d} {shown.shape[1]}")
        for row in np.hstack([points, shown]):
            print(" ".join(f"{value:.3f}" for value in row))
        for k in ks:
            trust = trustworthiness(points.astype(np.float64), shown.astype(np.float64), n_neighbors=k)
            continuity = trustworthiness(shown.astype(np.float64), points.astype(np.float64), n_neighbors=k)
            print(f"k {k} {trust:.15f} {continuity:.15f}")


if __name__ == "__main__":
    main()
