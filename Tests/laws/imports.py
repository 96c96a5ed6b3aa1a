"""Who may import whom (the house's rooms), and what nobody imports."""

import re
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "Sources"
KERNELS = {"Kernels", "KernelsNEON", "KernelsV2", "KernelsV3", "KernelsV4"}
MAY_IMPORT = {
    **{kernels: {"CSystem"} for kernels in KERNELS},
    "Engine": {"CSystem"} | KERNELS,
    "Files": {"Engine", "CSystem"},
    "Generation": {"Engine", "CSystem"},
    "Training": {"Engine", "Generation", "CSystem"},
    "CadenzaABI": {"CCadenza", "CSystem", "Engine", "Files", "Generation", "Training"},
}
IMPORT = re.compile(
    r"^\s*(?:@[\w()]+\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?"
    r"import\s+(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)",
    re.M,
)

failures = []
count = 0
for module in sorted(path for path in SOURCES.iterdir() if path.is_dir()):
    files = sorted(module.rglob("*.swift"))
    if files and module.name not in MAY_IMPORT:
        failures.append(f"{module.name} is a room that the house has not: say in {Path(__file__).name} what it may import")
        continue
    for file in files:
        count += 1
        for imported in set(IMPORT.findall(file.read_text())) - MAY_IMPORT[module.name]:
            failures.append(f"{file.relative_to(SOURCES.parent)} imports {imported}")

if count < 20:
    failures.append(f"only {count} Swift files were found")
if failures:
    sys.exit("\n".join(f"imports: {failure}" for failure in failures))
print(f"imports: {count} Swift files import what their modules may")
