#!/bin/sh
# Real clients through the relay before a real server: curl, nghttp and h2load before nghttpd, level-triggered and
# edge-triggered, both kinds of buffers, and once under valgrind. Exits with status 1 if anything went wrong. A missing
# program is skipped with a line that names it (Debian: nghttp2-client, nghttp2-server, curl, valgrind).
set -eu
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
failures=0
server=
relay=

finish() {
    for process in $relay $server; do
        kill "$process" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

has() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "skipped: $1 is not installed"
        return 1
    }
}

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# The value of a key in the relay's statistics.
figure() {
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$folder/stats.json"
}

expect() { # KEY TEST VALUE
    test "$(figure "$1")" "$2" "$3" || fail "$1 is $(figure "$1"), not $2 $3"
}

# A free port: the kernel chooses one for a relay, which prints it and ends.
free_port() {
    "$program" --backend 127.0.0.1:1 --quiet >"$folder/port" &
    probe=$!
    await "$folder/port"
    kill "$probe"
    wait "$probe"
    sed 's/.*://' "$folder/port"
}

await() {
    tries=0
    until [ -s "$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 3000 ] || { echo "FAILED: nothing is written to $1"; exit 1; }
        sleep 0.02
    done
}

start_server() {
    port=$(free_port)
    nghttpd --no-tls --address=127.0.0.1 --htdocs="$folder/www" "$port" >"$folder/server.log" 2>&1 &
    server=$!
    tries=0
    until nghttp --null-out "http://127.0.0.1:$port/small" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -le 1200 ] || { echo "FAILED: nghttpd does not answer"; cat "$folder/server.log"; exit 1; }
        sleep 0.05
    done
}

run_curl() {
    for file in small large; do
        if curl --silent --show-error --max-time 60 --http2-prior-knowledge "http://$address/$file" |
            cmp - "$folder/www/$file"; then
            echo "  curl: $file is the same"
        else
            fail "curl: $file differs"
        fi
    done
    # A body towards the server, which answers 4xx or 2xx; what counts is that it takes it.
    curl --silent --max-time 60 --http2-prior-knowledge --output /dev/null --data-binary "@$folder/www/large" \
        "http://$address/small" || fail "curl: upload"
}

run_nghttp() {
    if nghttp --timeout=60 "http://$address/large" | cmp - "$folder/www/large"; then
        echo "  nghttp: large is the same"
    else
        fail "nghttp: large differs"
    fi
}

# h2load exits with status 0 even if requests failed, so its summary decides.
run_h2load() { # REQUESTS CLIENTS STREAMS FILE
    summary=$(h2load --requests="$1" --clients="$2" --max-concurrent-streams="$3" --connection-inactivity-timeout=60 \
        "http://$address/$4" | grep '^requests:') || true
    case $summary in
    "requests: $1 total, $1 started, $1 done, $1 succeeded, 0 failed, 0 errored, 0 timeout")
        echo "  h2load: $1 requests of $4 by $2 clients, $3 at once each" ;;
    *) fail "h2load: $summary" ;;
    esac
}

run_relay() { # TITLE RUNNER REQUESTS OPTION...
    echo "$1"
    runner=$2
    requests=$3
    shift 3
    : >"$folder/address"
    # shellcheck disable=SC2086 # the runner is several words
    $runner "$program" --backend "127.0.0.1:$port" --json "$folder/stats.json" --quiet "$@" >"$folder/address" &
    relay=$!
    await "$folder/address"
    address=$(sed 's/.*listening on //' "$folder/address")
    if has curl; then run_curl; fi
    run_nghttp
    if has h2load; then
        run_h2load "$requests" 50 10 small
        run_h2load $((requests / 50)) 10 4 large
        run_h2load "$((requests / 10))" "$((requests / 10))" 1 small
    fi
    kill -TERM "$relay"
    status=0
    wait "$relay" || status=$?
    relay=
    [ "$status" -eq 0 ] || fail "the relay ended with $status"
    expect receive_bytes_used -eq 0
    expect misuses -eq 0
    expect protocol_errors -eq 0
    expect oversized_headers -eq 0
    expect received_bytes -eq $(($(figure relayed_bytes) + $(figure dropped_bytes)))
    expect requests -gt 0
    expect responses_ended -ge "$(figure requests)"
    echo "  relay: $(figure connections_total) connections, $(figure requests) requests," \
        "$(figure received_bytes) bytes, $(figure leased_peak) of $(figure buffers) buffers at once," \
        "$(figure recv_calls) recv, $(figure send_calls) send, $(figure epoll_ctl_calls) epoll_ctl"
}

run_valgrind() {
    run_relay "pool, level-triggered, under valgrind" \
        "valgrind --leak-check=full --show-leak-kinds=all --track-fds=yes --error-exitcode=9 --log-file=$folder/valgrind" \
        500
    grep -q 'ERROR SUMMARY: 0 errors' "$folder/valgrind" || fail "valgrind: $(cat "$folder/valgrind")"
    # valgrind marks an inherited descriptor; for one that was opened and left open it prints the place.
    if grep -A 1 'Open file descriptor\|Open AF_INET' "$folder/valgrind" | grep ' at 0x'; then
        fail "valgrind: a descriptor is left open"
    fi
}

has nghttpd && has nghttp || exit 0
cargo clib --quiet
program=$folder/h2relay
"${CC:-gcc}" -std=c11 -O2 -g -Wall -Wextra -Wpedantic -Werror ${CFLAGS:-} -Iinclude examples/c/h2relay/*.c \
    -o "$program" target/release/libdemuxbuf.a -lpthread -ldl -lm
mkdir "$folder/www"
echo "a small file" >"$folder/www/small"
head -c 2000000 /dev/urandom >"$folder/www/large"
start_server

run_relay "pool, level-triggered" "" 20000
run_relay "pool, edge-triggered" "" 20000 --edge-triggered
run_relay "pool of 8 buffers" "" 20000 --memory-kib 129
run_relay "pool of 8 buffers, edge-triggered" "" 20000 --memory-kib 129 --edge-triggered
run_relay "pool of 16 buffers, 2 threads" "" 20000 --memory-kib 258 --threads 2
run_relay "static buffers, level-triggered" "" 20000 --static-buffers
run_relay "static buffers, edge-triggered" "" 20000 --static-buffers --edge-triggered
if has valgrind; then run_valgrind; fi

[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
echo "all clients were served"
