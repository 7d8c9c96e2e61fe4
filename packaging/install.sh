#!/bin/sh
# Builds the C library and installs headers, libraries and demuxbuf.pc below a prefix.
#
#   packaging/install.sh PREFIX [STAGE]
#
# PREFIX is where they will be found (an absolute path, such as /usr/local). With STAGE they are put below STAGE/PREFIX
# instead, as packagers do. Needs cargo and an ELF system; debug information is left out where there is a `strip`.
set -eu

prefix=${1:?usage: packaging/install.sh PREFIX [STAGE]}
stage=${2:-}
case $prefix in
/*) ;;
*) echo "install.sh: PREFIX is $prefix; it has to be an absolute path" >&2 && exit 2 ;;
esac

cd "$(dirname "$0")/.."
field() { sed -n "s/^$1 = \"\\(.*\\)\"\$/\\1/p" Cargo.toml | head -n 1; }
version=$(field version)
# Before 1.0 each minor version may break programs, from then on each major one.
case $version in
0.*) abi=${version%.*} ;;
*) abi=${version%%.*} ;;
esac
soname=libdemuxbuf.so.$abi

# A folder of its own: what is built for tests beside it has no soname, because it is found by its path.
built=${CARGO_TARGET_DIR:-target}/install
notes=$(cargo clib --quiet --target-dir "$built" -- -C "link-arg=-Wl,-soname,$soname" --print native-static-libs 2>&1) || {
  echo "$notes" >&2
  exit 1
}
# The compiler driver adds its own run-time and the C library, the right ones for static and for shared linking.
private_libs=$(echo "$notes" | sed -n -e 's/ -lgcc_s\| -lc$//g' -e 's/^note: native-static-libs://p')

include=$stage$prefix/include lib=$stage$prefix/lib
mkdir -p "$include" "$lib/pkgconfig"
cp include/demuxbuf.h include/demuxbuf_posix.h "$include/"
cp "$built/release/libdemuxbuf.a" "$lib/"
cp "$built/release/libdemuxbuf.so" "$lib/libdemuxbuf.so.$version"
if command -v strip >/dev/null; then
  strip --strip-debug "$lib/libdemuxbuf.a" "$lib/libdemuxbuf.so.$version"
fi
chmod 644 "$include/demuxbuf.h" "$include/demuxbuf_posix.h" "$lib/libdemuxbuf.a" "$lib/libdemuxbuf.so.$version"
ln -sf "libdemuxbuf.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libdemuxbuf.so"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@DESCRIPTION@|$(field description)|" \
  -e "s|@PRIVATE_LIBS@|${private_libs# }|" packaging/demuxbuf.pc.in >"$lib/pkgconfig/demuxbuf.pc"
echo "installed demuxbuf $version below $stage$prefix"
