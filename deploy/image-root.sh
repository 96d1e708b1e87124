#!/usr/bin/env bash
# Lays out the root of the image in FOLDER: BINARY without its debugging sections, the libraries that it is linked with,
# and what a resolver and TLS look for. No shell, no package manager, nothing that can be written to.
#
#   deploy/image-root.sh BINARY FOLDER
set -euo pipefail

if (($# != 2)); then
    echo "usage: deploy/image-root.sh BINARY FOLDER" >&2
    exit 2
fi
binary=$1
root=$2

install -D -m 755 "$binary" "$root/usr/bin/tidegate"
# Names of functions stay, for backtraces.
strip --strip-debug "$root/usr/bin/tidegate"

# Lines of ldd: `name => /path (address)`, `/path (address)` for the loader, and the kernel's own, which is no file.
while read -r library; do
    install -D -m 755 "$library" "$root$library"
done < <(ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')

mkdir -p "$root/etc/ssl/certs"
# glibc has both of these built in; without this file it would look for others first.
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
echo "tidegate:x:65532:65532:tidegate:/:/usr/bin/tidegate" >"$root/etc/passwd"
echo "tidegate:x:65532:" >"$root/etc/group"

# For servers whose certificates a public authority has signed.
authorities=/etc/ssl/certs/ca-certificates.crt
if [[ -e $authorities ]]; then
    install -m 644 "$authorities" "$root$authorities"
else
    echo "deploy/image-root.sh: no $authorities here: connections to managed services need tls.caFrom" >&2
fi
