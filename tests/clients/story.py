"""What every client of Python does: list the tools, generate an image and wait for it, read its bytes.

Where a wait ends before the image is there, it does what the answer tells an assistant: it waits again."""

import asyncio
import base64
import json
import os
import sys

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
HEADERS = {"Authorization": f"Bearer {KEY}"}
# The vendor takes longer than any wait does.
SLOW = "SLOW" in os.environ


async def story(client, name):
    listed = await client.list_tools()
    tools = getattr(listed, "tools", listed)
    assert any(tool.name == "generate_image_and_wait" for tool in tools), "the tool is listed"
    arguments = {"prompt": f"a fox for {name}", "size": "256x256"}
    result = await client.call_tool("generate_image_and_wait", arguments)
    waits = 0
    while (made := answered(result))["status"] != "completed":
        job_id = made["job_id"]
        told = f"Still running. Do not generate again: call wait_for_completion with job_id {job_id}"
        assert made["status"] in ("pending", "processing") and made["message"].startswith(told), made
        waits += 1
        result = await client.call_tool("wait_for_completion", {"job_id": job_id})
    assert (waits > 0) == SLOW, f"{waits} waits were cut short"
    assert any(block.type == "image" for block in result.content), "the picture is shown"
    image = made["images"][0]
    read = await client.read_resource(image["uri"])
    contents = getattr(read, "contents", read)
    data = base64.b64decode(contents[0].blob)
    assert data[:4] == b"\x89PNG" and len(data) == image["size_bytes"], "the whole PNG"
    print(f"{name}: {len(tools)} tools, {len(data)} bytes, waited again {waits} times")


def answered(result):
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


async def python_sdk(how, name):
    from mcp import Client, StdioServerParameters
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    mode = "legacy" if how == "sse" else how
    if how == "stdio":
        args = ["stdio", *os.environ["GATEWAY_OPTIONS"].split()]
        server, mode = StdioServerParameters(command=os.environ["GATEWAY_PROGRAM"], args=args), "auto"
    elif how == "sse":
        server = sse_client(f"{URL}/sse", headers=HEADERS)
    else:
        # What the library makes by itself, with a header: its time-outs are the default ones.
        server = streamable_http_client(f"{URL}/mcp", http_client=create_mcp_http_client(headers=HEADERS))
    async with Client(server, mode=mode) as client:
        await story(client, name)


async def fastmcp(how, name):
    from fastmcp import Client
    from fastmcp.client.transports import SSETransport, StreamableHttpTransport

    sse = how == "sse"
    transport = SSETransport(f"{URL}/sse", auth=KEY) if sse else StreamableHttpTransport(f"{URL}/mcp", auth=KEY)
    async with Client(transport) as client:
        await story(client, name)


library, how, name = sys.argv[1:4]
asyncio.run({"python": python_sdk, "fastmcp": fastmcp}[library](how, name))
