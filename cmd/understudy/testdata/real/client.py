"""Python's urllib or requests as a client: client.py urllib|requests PLAN."""
import hashlib
import sys
import urllib.error
import urllib.request


def show(status, reason, headers, body):
    print(status, reason)
    for name, value in headers:
        print("%s: %s" % (name, value))
    print("sha256", hashlib.sha256(body).hexdigest(), len(body), flush=True)


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def with_urllib(method, url, proxy, headers, body):
    handlers = [Stay(), urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {})]
    req = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        resp = urllib.request.build_opener(*handlers).open(req, timeout=20)
    except urllib.error.HTTPError as e:
        resp = e
    show(resp.status, resp.reason, resp.headers.items(), resp.read())


def with_requests(method, url, proxy, headers, body):
    import requests
    resp = requests.request(method, url, headers=headers, data=body, timeout=20, allow_redirects=False,
                            proxies={"http": proxy, "https": proxy} if proxy else {})
    show(resp.status_code, resp.reason, resp.raw.headers.items(), resp.content)


sys.stdout.reconfigure(encoding="latin-1", errors="backslashreplace")
act = {"urllib": with_urllib, "requests": with_requests}[sys.argv[1]]
for line in open(sys.argv[2]):
    name, method, url, proxy, body, fields = line.rstrip("\n").split("\t")
    print("==", name)
    headers = dict(f.split(": ", 1) for f in fields.split("|") if f)
    data = None
    if body.startswith("@"):
        data = b"a" * int(body[1:])
    elif body:
        data = body.encode()
    try:
        act(method, url, proxy, headers, data)
    except Exception as e:
        print("error:", repr(e), flush=True)
