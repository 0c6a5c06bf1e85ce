#!/usr/bin/env bash
# What the server offers, and one image: examples/generate.sh [file]
set -euo pipefail
url=${IMAGE_GATEWAY_URL:-http://127.0.0.1:8000}
key=${IMAGE_GATEWAY_KEY:?set IMAGE_GATEWAY_KEY to a key of the gateway (cat data/first-key)}
file=${1:-fox.png}

call() { # method, params: the result, or the reason on stderr
  jq -nc --arg method "$1" --argjson params "$2" '{jsonrpc: "2.0", id: 1, $method, $params}' |
    curl -sS "$url/mcp" -H "Authorization: Bearer $key" -H "Content-Type: application/json" -d @- |
    jq 'if .error then "\(.error.message)\n" | halt_error(1)
        elif .result.isError then "\(.result.content[0].text)\n" | halt_error(1)
        else .result end'
}

call tools/list '{}' | jq -r '.tools[] | "\(.name): \(.description | split(". ")[0])"'

params='{"name": "generate_image_and_wait", "arguments": {"prompt": "a red fox in the snow", "return": "link"}}'
answer=$(call tools/call "$params")
curl -sS --fail -o "$file" "$(jq -r '.structuredContent.image_url' <<<"$answer")"
echo "wrote $file"
