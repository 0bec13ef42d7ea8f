#!/bin/sh
# Sends a request to Quartermaster, signed by RFC 9421 with an Ed25519 key. Needs openssl (3.0 or newer) and curl.
#
#   KEY_ID=… PRIVATE_KEY=key.pem sh sign.sh METHOD URL [BODY]
#
# KEY_ID is the id that POST /v1/auth/signing-keys answered, PRIVATE_KEY the file with the private key (PEM). The host of
# the URL in lower case, its port only where it is not the usual one, and all but ASCII percent-encoded. IDEMPOTENCY_KEY,
# where it is set, is sent and covered. Prints the answer and its status.
set -eu
method=$1 url=$2 body=${3-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM

# http://host:port/path?query: authority, path and query as they are sent
rest=${url#*://}
authority=${rest%%[/?]*}
target=${rest#"$authority"}
path=${target%%\?*}
query=${target#"$path"}

# What is covered, and what is signed: a line each, and no line feed at the end
names='"@method" "@authority" "@path"'
line() { printf '"%s": %s\n' "$1" "$2" >>"$folder/base"; }
line @method "$method"
line @authority "$authority"
line @path "${path:-/}"
if [ -n "$query" ]; then
  names="$names \"@query\""
  line @query "$query"
fi

printf %s "$body" >"$folder/body"
set --
if [ -n "$body" ]; then
  digest="sha-256=:$(openssl dgst -sha256 -binary "$folder/body" | openssl base64 -A):"
  names="$names \"content-digest\""
  line content-digest "$digest"
  set -- -H "content-digest: $digest" -H 'content-type: application/json' --data-binary "@$folder/body"
fi

# A header that changes what the request does must be covered; otherwise a proxy could alter it
if [ -n "${IDEMPOTENCY_KEY-}" ]; then
  names="$names \"idempotency-key\""
  line idempotency-key "$IDEMPOTENCY_KEY"
  set -- "$@" -H "idempotency-key: $IDEMPOTENCY_KEY"
fi

# A nonce is good once: a request that is sent again is signed again
parameters="($names);created=$(date +%s);nonce=\"$(openssl rand -hex 16)\";keyid=\"$KEY_ID\";alg=\"ed25519\""
printf '"@signature-params": %s' "$parameters" >>"$folder/base"
openssl pkeyutl -sign -rawin -inkey "$PRIVATE_KEY" -in "$folder/base" -out "$folder/signature"
signature=$(openssl base64 -A -in "$folder/signature")

# curl waits for the body of an answer to -X HEAD
if [ "$method" = HEAD ]; then set -- --head "$@"; else set -- -X "$method" "$@"; fi
curl -sS -g --path-as-is -w '\n%{http_code}\n' "$@" \
  -H "signature-input: sig=$parameters" -H "signature: sig=:$signature:" "$url"
