#!/bin/sh
# The conversion report in a real browser, which has to draw its charts: screenshots light and dark, and the page as the
# browser understood it. Exit status 77 where there is no chromium.
#   report_screenshot.sh SVQCONVERT SVQ_MAKE_TINY_GGUF OUTPUT_DIRECTORY
set -eu
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[ -n "$browser" ] || { echo "skipped: no chromium"; exit 77; }
convert=$1 make=$2 out=$3
mkdir -p "$out"
"$make" "$out/tiny.gguf" llama layers=6
"$convert" "$out/tiny.gguf" -o "$out/tiny.svq" --force --quiet --size 110kB --calibration-sequences 4 --calibration-length 32 --threads 1 --train-tokens 4096
page=file://$(cd "$out" && pwd)/tiny.svq.report.html
shoot() {
  "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$out/profile" "$@"
}
shoot --window-size=1000,3200 --screenshot="$out/light.png" "$page" 2>"$out/browser.log"
shoot --window-size=420,4200 --force-dark-mode --blink-settings=preferredColorScheme=0 --screenshot="$out/dark.png" "$page" 2>>"$out/browser.log"
shoot --dump-dom "$page" >"$out/dom.html" 2>>"$out/browser.log"
for file in light dark; do
  size=$(wc -c <"$out/$file.png")
  [ "$size" -gt 40000 ] || { echo "$file.png has $size bytes: an empty page?"; exit 1; }
done
# A page that does not parse would come out with its elements moved or dropped.
[ "$(grep -c '<svg ' "$out/dom.html")" = "$(grep -c '<svg ' "$out/tiny.svq.report.html")" ]
[ "$(grep -o '<path ' "$out/dom.html" | wc -l)" = "$(grep -o '<path ' "$out/tiny.svq.report.html" | wc -l)" ]
echo "screenshots: $out/light.png $out/dark.png"
