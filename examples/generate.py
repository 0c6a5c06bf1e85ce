"""What the server offers, and one image: python3 examples/generate.py [file]"""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("IMAGE_GATEWAY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("IMAGE_GATEWAY_KEY") or sys.exit("set IMAGE_GATEWAY_KEY to a key of the gateway")


def call(method, params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{URL}/mcp", body, headers), timeout=120) as sent:
            answer = json.load(sent)
    except urllib.error.HTTPError as refused:
        answer = json.load(refused)
    if "error" in answer:
        sys.exit(answer["error"]["message"])
    return answer["result"]


def main():
    file = sys.argv[1] if len(sys.argv) > 1 else "fox.png"
    for tool in call("tools/list", {})["tools"]:
        print(f"{tool['name']}: {tool['description'].split('. ')[0]}")
    arguments = {"prompt": "a red fox in the snow", "return": "link"}
    result = call("tools/call", {"name": "generate_image_and_wait", "arguments": arguments})
    if result.get("isError"):
        sys.exit(result["content"][0]["text"])
    with urllib.request.urlopen(result["structuredContent"]["image_url"], timeout=60) as image:
        with open(file, "wb") as out:
            out.write(image.read())
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
