
# It is built, and so on, inside.
inside() {
  mount -t tmpfs podhop /run && mkdir -p /run/netns /run/lab/etc || fail "no place for it"
  exec </dev/null
  build
}

everything() {
  # What runs in the background shall hear SIGINT.
  set -m
  CAPTURES=() STARTED=() ENDLESS=()
  mkdir "$OUT/captures" "$OUT/commands" "$OUT/state" || fail "no folder $OUT"
  inside
  # What interfaces say of themselves when they come up.
  sleep 0.3
  captures "${SPACES[@]}"
  interfaces "${SPACES[@]}"
  START=${EPOCHREALTIME/./}
  traffic
  ((${#STARTED[@]} == 0)) || wait "${STARTED[@]}"
  sleep 0.3
  # What goes on until it is interrupted.
  ((${#ENDLESS[@]} == 0)) || { pkill -INT -P "$(IFS=,; echo "${ENDLESS[*]}")" && wait "${ENDLESS[@]}"; }
  interfaces "${SPACES[@]}"
  kill "${CAPTURES[@]}"
  wait "${CAPTURES[@]}"
  state "${SPACES[@]}"
}

SPACES=(@SPACES@)
isolated() { exec unshare --mount --pid --net --fork --kill-child --mount-proc "$@"; }

case ${1-} in
--inside)
  OUT=$2
  everything
  exit
  ;;
--inside-up)
  inside
  touch /run/lab/ready
  exec sleep infinity
  ;;
esac

for tool in $NEEDS; do command -v "$tool" >/dev/null || missing="${missing-} $tool"; done
[ -z "${missing-}" ] || fail "not found:$missing"
[ "$(id -u)" = 0 ] || fail "only root can make namespaces"
case ${1-} in
--up)
  mkdir "$UP" 2>/dev/null || fail "it is up already"
  isolated "$BASH" "$0" --inside-up 2>"$UP/log" &
  holder=$!
  echo "$holder" >"$UP/pid"
  until pid=$(pgrep -P "$holder") && [ -e "/proc/$pid/root/run/lab/ready" ]; do
    kill -0 "$holder" 2>/dev/null || { cat "$UP/log" >&2; rm -r "$UP"; fail "it cannot be built"; }
    sleep 0.05
  done
  echo "$NAME is up: $0 --exec ${SPACES[0]} ip addr"
  ;;
--exec)
  [ -e "$UP/pid" ] || fail "it is not up: $0 --up"
  namespace=${NETNS[$2]-$2}
  shift 2
  exec nsenter -t "$(pgrep -P "$(cat "$UP/pid")")" --mount --pid --net ip netns exec "$namespace" "$@"
  ;;
--teardown)
  [ ! -e "$UP/pid" ] || kill -KILL "$(cat "$UP/pid")"
  rm -rf "$UP"
  ;;
-*)
  sed -n '2,/^NEEDS/p' "$0" | sed '$d; s/^# \?//'
  exit 2
  ;;
*)
  OUT=$(realpath -m "${1:-podhop-out/$NAME-real}")
  mkdir -p "${OUT%/*}" && mkdir "$OUT" || fail "$OUT is there already"
  trap 'kill -KILL $!' INT TERM
  isolated "$BASH" "$0" --inside "$OUT" &
  wait $!
  ;;
esac
