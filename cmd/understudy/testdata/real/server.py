"""An upstream on Python's own http.server: HTTP/1.0 and 1.1, hand-made chunks and trailers."""
import http.server
import ssl
import sys
import threading
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", reason=None, headers=()):
        self.send_response(status, reason)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/old":  # HTTP/1.0: the connection's end is the body's end
            self.protocol_version = "HTTP/1.0"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(b"no length, " * 400)
            self.close_connection = True
        elif path == "/reason":
            self.answer(299, b"odd\n", "Quite  Fine, Thank You")
        elif path == "/noreason":
            self.answer(200, b"silent\n", "")
        elif path == "/repeat":
            self.answer(200, b"r\n", headers=[
                ("X-Repeat", "one"), ("x-other", "between"), ("X-Repeat", "two"), ("X-REPEAT", "three"),
                ("X-Empty", ""), ("X-Latin", "caf\xe9"), ("Link", "</a>; rel=a, </b>; rel=b"), ("Link", "</c>; rel=c")])
        elif path == "/trailers":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum, X-Count")
            self.end_headers()
            for i in range(5):
                part = b"part %d\n" % i
                self.wfile.write(b"%x;ext=%d\r\n%s\r\n" % (len(part), i, part))
                self.wfile.flush()
                time.sleep(0.005)
            self.wfile.write(b"0\r\nX-Sum: abc\r\nX-Count: 5\r\n\r\n")
        elif path == "/cookies":
            self.answer(200, b"c\n", headers=[("Set-Cookie", "sid=one; Path=/; HttpOnly"), ("Set-Cookie", "theme=dark; Max-Age=60")])
        elif path == "/gone":
            self.answer(410, b"gone\n")
        else:
            self.answer(200, ("%s %s\n" % (self.command, self.path)).encode())

    do_HEAD = do_GET
    do_DELETE = do_GET

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(201, b"got %d bytes: " % len(body) + body[:100] + b"\n", headers=[("Location", "/made/1")])

    do_PUT = do_POST
    do_PATCH = do_POST


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


plain = Server(("127.0.0.1", 0), Handler)
secure = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
secure.socket = context.wrap_socket(secure.socket, server_side=True)
threading.Thread(target=plain.serve_forever, daemon=True).start()
print(plain.server_address[1], secure.server_address[1], flush=True)
secure.serve_forever()
