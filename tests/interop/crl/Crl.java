import java.io.FileInputStream;
import java.security.cert.*;
import java.util.*;

/** Judges certificates by CRLs: Crl ROOT ISSUING LEAF LEAF CRL... (PEM, PEM, PEM, PEM, DER...), a line for each leaf. */
public class Crl {
    public static void main(String[] files) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        List<Certificate> certificates = new ArrayList<>();
        List<CRL> crls = new ArrayList<>();
        for (int i = 0; i < files.length; i++) {
            try (FileInputStream in = new FileInputStream(files[i])) {
                if (i < 4) certificates.add(factory.generateCertificate(in));
                else crls.add(factory.generateCRL(in));
            }
        }
        TrustAnchor anchor = new TrustAnchor((X509Certificate) certificates.get(0), null);
        CertStore store = CertStore.getInstance("Collection", new CollectionCertStoreParameters(crls));
        for (Certificate leaf : certificates.subList(2, 4)) {
            PKIXParameters parameters = new PKIXParameters(Set.of(anchor));
            parameters.setRevocationEnabled(true);
            parameters.addCertStore(store);
            CertPath path = factory.generateCertPath(List.of(leaf, certificates.get(1)));
            try {
                CertPathValidator.getInstance("PKIX").validate(path, parameters);
                System.out.println("good");
            } catch (CertPathValidatorException e) {
                Throwable cause = e.getCause();
                System.out.println(cause instanceof CertificateRevokedException revoked
                    ? "revoked " + revoked.getRevocationReason() : "refused " + e.getMessage());
            }
        }
    }
}
