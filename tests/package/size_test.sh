# size_test.sh LIBRARY STRIP READELF LIMIT NEEDED: the stripped library is no larger than LIMIT bytes, and needs no library
# beyond those that the expression NEEDED names.
set -eu
copy=$(mktemp)
trap 'rm -f "$copy"' EXIT
"$2" -o "$copy" "$1"
bytes=$(stat -c %s "$copy")
echo "stripped: $bytes bytes, at most $4"
needed=$("$3" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
echo "needs:" $needed
test "$bytes" -le "$4"
! printf '%s\n' $needed | grep -v -x -E "$5"
