"""What every client of Python does: list the tools, generate an image and wait for it, read its bytes."""

import asyncio
import base64
import json
import os
import sys

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
HEADERS = {"Authorization": f"Bearer {KEY}"}


async def story(client, name):
    listed = await client.list_tools()
    tools = getattr(listed, "tools", listed)
    assert any(tool.name == "generate_image_and_wait" for tool in tools), "the tool is listed"
    arguments = {"prompt": f"a fox for {name}", "size": "256x256"}
    result = await client.call_tool("generate_image_and_wait", arguments)
    assert not result.is_error, result.content
    made = json.loads(result.content[0].text)
    assert made["status"] == "completed", made
    assert any(block.type == "image" for block in result.content), "the picture is shown"
    image = made["images"][0]
    read = await client.read_resource(image["uri"])
    contents = getattr(read, "contents", read)
    data = base64.b64decode(contents[0].blob)
    assert data[:4] == b"\x89PNG" and len(data) == image["size_bytes"], "the whole PNG"
    print(f"{name}: {len(tools)} tools, {len(data)} bytes")


async def python_sdk(how, name):
    import httpx2
    from mcp import Client, StdioServerParameters
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    mode = "legacy" if how == "sse" else how
    if how == "stdio":
        args = ["stdio", "--data-dir", os.environ["GATEWAY_DATA"]]
        server, mode = StdioServerParameters(command=os.environ["GATEWAY_PROGRAM"], args=args), "auto"
    elif how == "sse":
        server = sse_client(f"{URL}/sse", headers=HEADERS)
    else:
        http = httpx2.AsyncClient(headers=HEADERS, timeout=60)
        server = streamable_http_client(f"{URL}/mcp", http_client=http)
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
