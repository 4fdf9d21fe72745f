// Node as a client: client.mjs request|fetch PLAN. Node 20's fetch knows no
// proxy; request speaks to one by hand, in absolute form or through CONNECT.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import tls from 'node:tls';

const pairs = (raw) => raw.flatMap((v, i) => (i % 2 ? [] : [`${v}: ${raw[i + 1]}`]));

function digest(body) {
  return `sha256 ${createHash('sha256').update(body).digest('hex')} ${body.length}`;
}

function tunnel(proxy, url) {
  return new Promise((resolve, reject) => {
    const to = `${url.hostname}:${url.port || 443}`;
    http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: to, headers: { Host: to } })
      .on('connect', (res, socket) => {
        if (res.statusCode !== 200) return reject(new Error(`CONNECT: ${res.statusCode}`));
        const secure = tls.connect({ socket, servername: url.hostname }, () => resolve(secure));
        secure.on('error', reject);
      })
      .on('error', reject).end();
  });
}

async function request({ method, url, proxy, body, headers }) {
  const u = new URL(url);
  const options = { method, headers, agent: false };
  let call;
  if (proxy && u.protocol === 'https:') {
    const socket = await tunnel(new URL(proxy), u);
    // The socket is there already: https would look the name up and dial.
    call = http.request({ ...options, agent: undefined, host: u.hostname, path: u.pathname + u.search, headers: { Host: u.host, ...headers }, createConnection: () => socket });
  } else if (proxy) {
    const p = new URL(proxy);
    call = http.request({ ...options, host: p.hostname, port: p.port, path: url, headers: { Host: u.host, ...headers } });
  } else {
    call = (u.protocol === 'https:' ? https : http).request(url, options);
  }
  return new Promise((resolve, reject) => {
    const out = [];
    call.on('information', (i) => out.push(`interim ${i.statusCode} ${pairs(i.rawHeaders).join(' | ')}`));
    call.on('error', reject);
    call.on('response', async (res) => {
      try {
        const parts = [];
        for await (const part of res) parts.push(part);
        resolve([`${res.statusCode} ${res.statusMessage}`, ...out, ...pairs(res.rawHeaders), digest(Buffer.concat(parts)),
          ...pairs(res.rawTrailers).map((t) => `trailer ${t}`)]);
      } catch (e) {
        reject(e);
      }
    });
    call.end(body);
  });
}

async function fetched({ method, url, body, headers }) {
  const res = await fetch(url, { method, headers, body, redirect: 'manual' });
  const data = Buffer.from(await res.arrayBuffer());
  return [`${res.status} ${res.statusText}`, ...[...res.headers].map(([k, v]) => `${k}: ${v}`), digest(data)];
}

const act = { request, fetch: fetched }[process.argv[2]];
for (const line of readFileSync(process.argv[3], 'utf8').trimEnd().split('\n')) {
  const [name, method, url, proxy, text, fields] = line.split('\t');
  const body = text.startsWith('@') ? 'a'.repeat(Number(text.slice(1))) : text || undefined;
  const headers = Object.fromEntries(fields.split('|').filter(Boolean).map((f) => [f.slice(0, f.indexOf(': ')), f.slice(f.indexOf(': ') + 2)]));
  let view;
  try {
    view = await act({ method, url, proxy, body, headers });
  } catch (e) {
    view = [`error: ${e.message} ${e.cause?.message ?? ''}`];
  }
  process.stdout.write(Buffer.from([`== ${name}`, ...view, ''].join('\n'), 'latin1'));
}
process.exit(0); // not to wait for idle connections
