// An upstream on Node: http, and http2 with HTTP/1.1 beside it on TLS.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';

async function handle(req, res) {
  const url = new URL(req.url, 'http://node.test');
  const h1 = req.httpVersionMajor === 1;
  switch (url.pathname) {
    case '/sse': {
      const n = Number(url.searchParams.get('n') ?? 5);
      const gap = Number(url.searchParams.get('gap') ?? 10);
      res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      for (let i = 0; i < n; i++) {
        res.write(`id: ${i}\ndata: {"n": ${i}, "pad": "${'é'.repeat(i % 7)}"}\n\n`);
        await sleep(gap);
      }
      return res.end('data: [DONE]\n\n');
    }
    case '/chunked':
      res.writeHead(200, { 'Content-Type': 'text/plain' });
      for (let i = 0; i < 10; i++) {
        res.write('x'.repeat(1 << i) + '\n');
        await sleep(1);
      }
      return res.end();
    case '/trailers': {
      res.writeHead(200, { 'Content-Type': 'text/plain', Trailer: 'X-Digest, X-Late' });
      const sum = createHash('sha256');
      for (let i = 0; i < 3; i++) {
        const part = `piece ${i}\n`;
        sum.update(part);
        res.write(part);
        await sleep(3);
      }
      res.addTrailers({ 'X-Digest': sum.digest('hex'), 'X-Late': 'yes' });
      return res.end();
    }
    case '/hints':
      res.writeEarlyHints({ link: ['</style.css>; rel=preload; as=style', '</script.js>; rel=preload; as=script'], 'x-hint': 'first' });
      await sleep(5);
      res.writeEarlyHints({ link: '</late.css>; rel=preload; as=style' });
      await sleep(5);
      res.writeHead(200, { 'Content-Type': 'text/html', Link: '</style.css>; rel=preload; as=style' });
      return res.end('<link rel=stylesheet href=/style.css>\n');
    case '/repeat':
      if (!h1) {
        res.setHeader('x-repeat', ['one', 'two', 'three']);
        res.setHeader('x-other', 'between');
        return res.end('repeated\n');
      }
      res.writeHead(200, 'Rather Good', ['X-Repeat', 'one', 'X-Other', 'between', 'x-repeat', 'two', 'X-REPEAT', 'three', 'Content-Length', '9']);
      return res.end('repeated\n');
    case '/reason':
      if (!h1) {
        res.statusCode = 202;
        return res.end('taken\n');
      }
      res.writeHead(202, 'Taken, With Thanks');
      return res.end('taken\n');
    case '/echo': {
      const sum = createHash('sha256');
      let size = 0;
      for await (const part of req) {
        sum.update(part);
        size += part.length;
      }
      res.setHeader('Content-Type', 'application/json');
      return res.end(JSON.stringify({ method: req.method, size, sha256: sum.digest('hex'), type: req.headers['content-type'] ?? null }));
    }
    case '/slow-start':
      await sleep(Number(url.searchParams.get('ms') ?? 10));
      return res.end('awake\n');
    default:
      res.statusCode = 404;
      return res.end('nothing here\n');
  }
}

const [cert, key] = process.argv.slice(2).map((f) => readFileSync(f));
const plain = http.createServer(handle).listen(0, '127.0.0.1', () => {
  const secure = http2.createSecureServer({ cert, key, allowHTTP1: true }, handle).listen(0, '127.0.0.1', () => {
    console.log(plain.address().port, secure.address().port);
  });
});
