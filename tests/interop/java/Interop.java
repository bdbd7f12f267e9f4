import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultX509Source;
import java.time.Duration;

/**
 * What a Java service does with java-spiffe: it follows its identity. One JSON document a line for each certificate,
 * verified against the bundle that came with it; it ends when standard input does.
 */
public final class Interop {
    public static void main(String[] args) throws Exception {
        var options = DefaultX509Source.X509SourceOptions.builder().initTimeout(Duration.ofSeconds(30)).build();
        try (var source = DefaultX509Source.newSource(options)) {
            var ended = new Thread(Interop::readToTheEnd);
            ended.start();
            X509Svid last = null;
            // The source tells nobody of a change, so it is asked, 50 times a second.
            for (; ended.isAlive(); ended.join(20)) {
                X509Svid svid = source.getX509Svid();
                if (last != null && svid.getLeaf().equals(last.getLeaf())) {
                    continue;
                }
                X509SvidValidator.verifyChain(svid.getChain(), source);
                String serial = svid.getLeaf().getSerialNumber().toString(16);
                say("svid", svid.getSpiffeId() + " " + serial + " " + svid.getChain().size());
                last = svid;
            }
        } catch (Exception e) {
            say("error", e.toString());
            System.exit(1);
        }
    }

    private static void readToTheEnd() {
        try {
            while (System.in.read() >= 0) {
                // What is said does not matter.
            }
        } catch (java.io.IOException e) {
            // Then nobody is there any more.
        }
    }

    private static void say(String event, String text) {
        String quoted = text.replaceAll("[\\p{Cntrl}\"\\\\]", "'");
        System.out.println("{\"event\": \"" + event + "\", \"text\": \"" + quoted + "\"}");
    }
}
