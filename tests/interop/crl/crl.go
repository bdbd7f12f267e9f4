// Judges a certificate by CRLs: crl ROOT ISSUING LEAF CRL... (PEM, PEM, PEM, DER...).
// The whole chain must have a CRL that its issuer has signed and that is current.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return value
}

func certificate(path string) *x509.Certificate {
	block, _ := pem.Decode(must(os.ReadFile(path)))
	return must(x509.ParseCertificate(block.Bytes))
}

func main() {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(certificate(os.Args[1]))
	intermediates.AddCert(certificate(os.Args[2]))
	leaf := certificate(os.Args[3])
	options := x509.VerifyOptions{Roots: roots, Intermediates: intermediates,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	chains := must(leaf.Verify(options))
	var lists []*x509.RevocationList
	for _, path := range os.Args[4:] {
		lists = append(lists, must(x509.ParseRevocationList(must(os.ReadFile(path)))))
	}
	for i, subject := range chains[0][:len(chains[0])-1] {
		issuer := chains[0][i+1]
		found := false
		for _, list := range lists {
			if list.CheckSignatureFrom(issuer) != nil || string(list.RawIssuer) != string(issuer.RawSubject) {
				continue
			}
			if now := time.Now(); now.Before(list.ThisUpdate) || now.After(list.NextUpdate) {
				continue
			}
			found = true
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(subject.SerialNumber) == 0 {
					fmt.Println("revoked reason", entry.ReasonCode)
					return
				}
			}
		}
		if !found {
			fmt.Println("no CRL of", issuer.Subject)
			os.Exit(1)
		}
	}
	fmt.Println("good")
}
