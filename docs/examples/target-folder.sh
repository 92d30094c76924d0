#!/bin/sh
# A snapshot target for exec: that keeps objects in a folder, to begin your own
# from:
#
#     confmesh node --snapshot-to 'exec:sh target-folder.sh /backup'
#
# docs/TARGETS.md tells the protocol. Standard output carries nothing else.
set -u
root=$1
mkdir -p "$root"

while read -r verb name size; do
    case $verb in
    hello)
        # $name is the version of the protocol.
        [ "$name" = 1 ] && echo 'ok 0' || echo 'error unknown version'
        ;;
    put)
        # The body has to be read whole, whatever comes of it.
        mkdir -p "$root/$(dirname "$name")"
        if head -c "$size" > "$root/.new" &&
            [ "$(wc -c < "$root/.new")" -eq "$size" ] &&
            sync "$root/.new" && mv "$root/.new" "$root/$name"; then
            echo 'ok 0'
        else
            echo 'again cannot write the object'
        fi
        ;;
    get)
        if [ -f "$root/$name" ]; then
            echo "ok $(wc -c < "$root/$name")"
            cat "$root/$name"
        else
            echo absent
        fi
        ;;
    list)
        # One name a line, a folder's with a slash behind it; "/" is the top.
        names=$(cd "$root/$name" 2> /dev/null && ls -1p)
        [ -z "$names" ] && echo 'ok 0' ||
            printf 'ok %d\n%s\n' "$((${#names} + 1))" "$names"
        ;;
    delete)
        rm -f "$root/$name" && echo 'ok 0' || echo 'error cannot delete'
        ;;
    *)
        echo 'error unknown request'
        ;;
    esac
done
