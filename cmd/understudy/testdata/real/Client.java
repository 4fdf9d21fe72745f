import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Java's HttpClient: Client HTTP_1_1|HTTP_2 PLAN, or Client HTTP_1_1 URL, which leaves the proxy to the system properties. */
public class Client {
    static final Map<String, HttpClient> clients = new TreeMap<>();

    static HttpClient client(String proxy, HttpClient.Version version) {
        return clients.computeIfAbsent(proxy, p -> {
            HttpClient.Builder b = HttpClient.newBuilder().version(version).followRedirects(HttpClient.Redirect.NEVER);
            if (p.equals("default")) {
                return b.proxy(ProxySelector.getDefault()).build();
            }
            if (!p.isEmpty()) {
                URI u = URI.create(p);
                b.proxy(ProxySelector.of(new InetSocketAddress(u.getHost(), u.getPort())));
            }
            return b.build();
        });
    }

    static void act(HttpClient client, String method, String url, String body, String fields) throws Exception {
        HttpRequest.BodyPublisher publisher = HttpRequest.BodyPublishers.noBody();
        if (body.startsWith("@")) {
            publisher = HttpRequest.BodyPublishers.ofString("a".repeat(Integer.parseInt(body.substring(1))));
        } else if (!body.isEmpty()) {
            publisher = HttpRequest.BodyPublishers.ofString(body);
        }
        HttpRequest.Builder b = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(20)).method(method, publisher);
        for (String f : fields.split("\\|")) {
            int colon = f.indexOf(": ");
            if (f.equals("Expect: 100-continue")) {
                b.expectContinue(true);
            } else if (colon > 0) {
                b.header(f.substring(0, colon), f.substring(colon + 2));
            }
        }
        HttpResponse<byte[]> r = client.send(b.build(), HttpResponse.BodyHandlers.ofByteArray());
        System.out.println(r.statusCode() + " " + r.version());
        for (Map.Entry<String, List<String>> e : r.headers().map().entrySet()) {
            for (String v : e.getValue()) {
                System.out.println(e.getKey() + ": " + v);
            }
        }
        byte[] sum = MessageDigest.getInstance("SHA-256").digest(r.body());
        System.out.println("sha256 " + HexFormat.of().formatHex(sum) + " " + r.body().length);
    }

    public static void main(String[] args) throws Exception {
        HttpClient.Version version = HttpClient.Version.valueOf(args[0]);
        if (args[1].startsWith("http")) {
            act(client("default", version), "GET", args[1], "", "");
            System.exit(0);
        }
        for (String line : Files.readAllLines(Path.of(args[1]))) {
            String[] p = line.split("\t", -1);
            System.out.println("== " + p[0]);
            try {
                act(client(p[3], version), p[1], p[2], p[4], p[5]);
            } catch (Exception e) {
                System.out.println("error: " + e);
            }
        }
        System.exit(0); // not to wait for idle connections
    }
}
