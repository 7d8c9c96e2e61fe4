#!/bin/sh
# Looks for retired names and banned words (scripts/words.txt) in the tracked files, and for lines of more than 120
# columns in those of Rust and C, and prints each as FILE:LINE:MATCH.
# Hits that scripts/words-allowed.txt allows are left out. The exit status is 1 if any is left, 2 on a mistake.
#
#   scripts/words.sh [PATH...]          all files, or those below these paths
#   scripts/words.sh --since COMMIT     the subjects of the commits since then
#   scripts/words.sh --count [PATH...]  the number of hits of each folder instead
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tab=$(printf '\t')

# The patterns of one kind, for one place in the tree; "-" is everywhere.
patterns() { # KIND PLACE
    awk -F "$tab" -v kind="$1" -v place="$2" '!/^#/ && NF == 3 && $1 == kind && $2 == place { print $3 }' \
        scripts/words.txt
}

if [ "${1:-}" = --since ]; then
    [ $# -eq 2 ] || { sed -n '6,8s/^# *//p' "$0" >&2; exit 2; }
    patterns word - >"$scratch/patterns"
    git log --format='%h:%s' "$2.." >"$scratch/subjects"
    if grep -iE -f "$scratch/patterns" "$scratch/subjects"; then exit 1; fi
    exit 0
fi

count=no
if [ "${1:-}" = --count ]; then
    count=yes
    shift
fi
[ $# -gt 0 ] || set -- .

# Names differ in case from words; words do not.
awk -F "$tab" '!/^#/ && NF == 3 { print $1 "\t" $2 }' scripts/words.txt | sort -u >"$scratch/groups"
while IFS="$tab" read -r kind place; do
    patterns "$kind" "$place" >"$scratch/patterns"
    case $kind in
        name) fold= ;;
        word) fold=-i ;;
        *) echo "scripts/words.txt: $kind is neither name nor word" >&2; exit 2 ;;
    esac
    if [ "$place" = - ]; then place=.; fi
    for path; do
        # Of both the one inside of the other.
        case $place/ in ./) below=$path ;; "$path"/* | "${path%/}"/*) below=$place ;; *)
            case $path/ in ./) below=$place ;; "$place"*) below=$path ;; *) continue ;; esac ;;
        esac
        # shellcheck disable=SC2086 # one option or none
        git grep -noI $fold -E -f "$scratch/patterns" -- "$below" \
            ':!scripts/words*' ':!LICENSE*' ':!*.lock' || [ $? -eq 1 ]
    done
done <"$scratch/groups" >"$scratch/found"
git ls-files -- "$@" | sed -nE 's/^(.*[/_])?(who|whom|whoever|nobody|somebody|everybody|at_hand)([_.].*)?$/&:1:the name of the file/p' \
    >>"$scratch/found"
# Headers that are generated, and the rows of tables in documentation, are as long as they are.
LC_ALL=C.UTF-8 git grep -nI -E '^.{121}' -- "$@" ':!include' ':!ffi-tests/abi/demuxbuf-*' |
    sed -nE '/^[^:]*\.(rs|c|h|cc):/{/^[^:]*:[0-9]*: *\/\/[\/!] \|/d;s/^([^:]*:[0-9]*):.*/\1:more than 120 columns/p;}' \
    >>"$scratch/found"
sort -u -t : -k 1,1 -k 2,2n -k 3 "$scratch/found" >"$scratch/hits"

awk -F "$tab" '
    FNR == NR {
        if (!/^#/ && NF == 3) { file[++rules] = $1; match_of[rules] = $2 }
        next
    }
    {
        at = index($0, ":")
        name = substr($0, 1, at - 1)
        rest = substr($0, at + 1)
        hit = substr(rest, index(rest, ":") + 1)
        for (rule = 1; rule <= rules; rule++) if (name ~ file[rule] && hit ~ match_of[rule]) next
        print
    }' scripts/words-allowed.txt "$scratch/hits" >"$scratch/left"

if [ $count = yes ]; then
    awk -F : '{
        parts = split($1, part, "/")
        folder = parts == 1 ? $1 : parts == 2 || part[1] != "src" ? part[1] : part[1] "/" part[2]
        hits[folder]++
    } END { for (folder in hits) print hits[folder] "\t" folder }' "$scratch/left" | sort -rn
    echo "$(wc -l <"$scratch/left") in all"
else
    cat "$scratch/left"
fi
[ ! -s "$scratch/left" ]
