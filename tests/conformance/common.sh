# For the scripts `run` beside this file: servers of one's own, and what the example programs of each language must print.
# Source it after `set -euo pipefail`.

: "${COVERLINE_BIN:?names the program under test; tests/run sets it}"

server_wait_seconds_max=60
server_memory_kib_max=12000000
# In memory where that is possible: clients are under test here, not disks.
scratch=$(mktemp -d -p /dev/shm 2> /dev/null || mktemp -d)
# Processes and folders of the servers that run.
declare -A servers=()
server_out=
# Authorities that nobody else trusts, and certificates of theirs: one for 127.0.0.1, one of a client.
tls=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../flight-server/tests/tls" && pwd)

# Starts three servers on free ports over empty folders: COVERLINE_ADDRESS is the HOST:PORT of one, COVERLINE_TLS_ADDRESS of one that
# speaks TLS, with a certificate of the authority in the file COVERLINE_TLS_AUTHORITY, and COVERLINE_MTLS_ADDRESS of one that does so,
# too, and serves only who shows the certificate in COVERLINE_MTLS_CERTIFICATE, whose key is in COVERLINE_MTLS_KEY.
start_server() {
  local shown=(--tls-cert "$tls/server.pem" --tls-key "$tls/server.key")
  launch root grpc
  export COVERLINE_ADDRESS=$launched_address
  launch secured grpc+tls "${shown[@]}"
  export COVERLINE_TLS_ADDRESS=$launched_address COVERLINE_TLS_AUTHORITY=$tls/ca.pem
  launch closed grpc+tls "${shown[@]}" --tls-client-ca "$tls/client-ca.pem"
  export COVERLINE_MTLS_ADDRESS=$launched_address COVERLINE_MTLS_CERTIFICATE=$tls/client.pem COVERLINE_MTLS_KEY=$tls/client.key
}

# launch FOLDER SCHEME ARGUMENT...: sets launched_address.
launch() {
  local folder=$1 scheme=$2 line=""
  shift 2
  # Kept open: the server's standard output must not break.
  exec {server_out}< <(
    ulimit -v "$server_memory_kib_max"
    exec "$COVERLINE_BIN" serve --listen 127.0.0.1:0 --data-dir "$scratch/$folder" "$@" 2> "$scratch/$folder.log"
  )
  local pid=$!
  read -r -t "$server_wait_seconds_max" line <&"$server_out" || true
  if [[ $line != "listening on $scheme://"* ]]; then
    echo "the server said \"$line\" instead of where it listens; its log:" >&2
    cat "$scratch/$folder.log" >&2
    kill -KILL "$pid" 2> /dev/null || true
    return 1
  fi
  servers[$pid]=$folder
  launched_address=${line#"listening on $scheme://"}
}

# Stops all in order. Fails if one died before, or stops with an error.
stop_server() {
  local pid failed=0
  for pid in "${!servers[@]}"; do kill -TERM "$pid" || echo "a server had died" >&2; done
  for pid in "${!servers[@]}"; do
    finish "$pid" "${servers[$pid]}" || failed=1
    unset "servers[$pid]"
  done
  return "$failed"
}

finish() {
  local code=0
  wait "$1" || code=$?
  if ((code != 0)); then
    tail -n 20 "$scratch/$2.log" >&2
    echo "the server over $2 stopped with exit code $code" >&2
    return 1
  fi
}

clean_up() {
  local pid
  for pid in "${!servers[@]}"; do kill -KILL "$pid" 2> /dev/null || true; done
  rm -rf "$scratch"
}
trap clean_up EXIT

# appended FILE VERSION: what the ingestion example says of a file that it appended.
appended() { echo "$1: version $2, 48 rows"; }

# check_examples [KIND]: runs examples of a language as their users do, over a table of their own: the functions `KIND_ingest TABLE FILE...`
# and `KIND_query TABLE SINCE` of the caller, which are `ingest` and `query` without a kind.
check_examples() {
  local kind=${1:+$1_} what="${1:+$1 }"
  local day symbol hour
  for day in 2025-03-01 2025-03-03; do
    echo "ts,symbol,close" > "$scratch/$day.csv"
    for symbol in AAPL NVDA; do
      for hour in {00..23}; do echo "${day}T$hour:00:00Z,$symbol,1$hour.5"; done
    done >> "$scratch/$day.csv"
  done
  local files=("$scratch/2025-03-01.csv" "$scratch/2025-03-03.csv")

  expect "the ${what}ingestion example" "${kind}ingest" "${kind}prices" "${files[@]}" << TEXT
$(appended 2025-03-01.csv 2)
$(appended 2025-03-03.csv 3)
TEXT
  expect "the ${what}ingestion example run again" "${kind}ingest" "${kind}prices" "${files[@]}" << 'TEXT'
2025-03-01.csv: already loaded, 48 overlapping buckets (first symbol="AAPL" [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z), since version 2)
2025-03-03.csv: already loaded, 48 overlapping buckets (first symbol="AAPL" [2025-03-03T00:00:00Z, 2025-03-03T01:00:00Z), since version 3)
TEXT
  expect "the ${what}query example" "${kind}query" "${kind}prices" 2025-03-01T12:00:00Z << 'TEXT'
AAPL: 2025-03-01T12:00:00Z to 2025-03-03T23:00:00Z, 36 rows
NVDA: 2025-03-01T12:00:00Z to 2025-03-03T23:00:00Z, 36 rows
AAPL: nothing from 2025-03-02T00:00:00Z to 2025-03-03T00:00:00Z, 24 buckets
NVDA: nothing from 2025-03-02T00:00:00Z to 2025-03-03T00:00:00Z, 24 buckets
TEXT
}

# expect WHAT COMMAND...: the command succeeds and prints what is on the standard input.
expect() {
  local what=$1
  shift
  cat > "$scratch/expected"
  if ! "$@" > "$scratch/printed" 2> "$scratch/complaints"; then
    cat "$scratch/printed" "$scratch/complaints" >&2
    echo "FAILED: $what" >&2
    return 1
  fi
  if ! diff -u "$scratch/expected" "$scratch/printed" >&2; then
    echo "FAILED: $what printed something else" >&2
    return 1
  fi
  echo "ok: $what"
}
