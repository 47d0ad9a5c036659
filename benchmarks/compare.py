"""Print the tables of all results in `benchmarks/results`, as Markdown.

Run it with `python benchmarks/compare.py` after the benchmarks themselves.
"""

import json

from common import RESULTS


def main() -> None:
    """Print one table per benchmark."""
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        if "rows" not in result:  # no times: docs/weights.md shows parity.json
            continue
        versions = result["manifest"]["versions"]
        print(f"\n## {result['benchmark']} (jax {versions['jax']})\n")
        print("| variant | median s | ratio to the first |\n|---|--:|--:|")
        for variant, row in result["rows"].items():
            print(f"| {variant} | {row['median_seconds']:.4f} | {row['ratio']:.2f} |")
        for fact, value in result["facts"].items():
            print(f"\n{fact}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
