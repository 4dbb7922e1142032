// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const module = "github.com/portguard/portguard"

type (
	document struct {
		Version      string         `json:"spdxVersion"`
		DataLicense  string         `json:"dataLicense"`
		ID           string         `json:"SPDXID"`
		Name         string         `json:"name"`
		Namespace    string         `json:"documentNamespace"`
		CreationInfo creation       `json:"creationInfo"`
		Packages     []pack         `json:"packages"`
		Relations    []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	pack struct {
		Name          string     `json:"name"`
		ID            string     `json:"SPDXID"`
		Version       string     `json:"versionInfo,omitempty"`
		FileName      string     `json:"packageFileName,omitempty"`
		Supplier      string     `json:"supplier"`
		Location      string     `json:"downloadLocation"`
		FilesAnalyzed bool       `json:"filesAnalyzed"`
		Checksums     []checksum `json:"checksums,omitempty"`
		Concluded     string     `json:"licenseConcluded"`
		Declared      string     `json:"licenseDeclared"`
		Copyright     string     `json:"copyrightText"`
		Refs          []ref      `json:"externalRefs,omitempty"`
		Comment       string     `json:"comment,omitempty"`
		Purpose       string     `json:"primaryPackagePurpose,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

// spdx is the SBOM of a program.
func spdx(binary, version, created string, all []component) ([]byte, error) {
	b, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	main := of(component{path: module, version: version, license: "Apache-2.0"})
	main.Name, main.FileName, main.Purpose = "portguard", filepath.Base(binary), "APPLICATION"
	main.Checksums = []checksum{{"SHA256", sum}}
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "portguard " + version,
		Namespace:    "https://" + module + "/sbom/" + sum,
		CreationInfo: creation{created, []string{"Tool: portguard-attribution"}},
		Packages:     []pack{main},
		Relations:    []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", main.ID}},
	}
	for _, c := range all {
		p := of(c)
		d.Packages = append(d.Packages, p)
		d.Relations = append(d.Relations, relationship{main.ID, "CONTAINS", p.ID})
	}
	out, err := json.MarshalIndent(d, "", "  ")
	return append(out, '\n'), err
}

// of describes a component.
func of(c component) pack {
	p := pack{
		Name: c.path, ID: "SPDXRef-" + regexp.MustCompile("[^a-zA-Z0-9.]").ReplaceAllString(c.path, "-"), Version: c.version,
		Supplier: "NOASSERTION", Location: "NOASSERTION", Concluded: c.license, Declared: c.license, Copyright: "NOASSERTION",
		Refs: []ref{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + c.path + "@" + strings.ReplaceAll(c.version, "+", "%2B")}},
	}
	// go.sum's hash is one of the files of a module: of nothing that can be downloaded, so it is no checksum of the package.
	if hash, ok := strings.CutPrefix(c.sum, "h1:"); ok {
		if raw, err := base64.StdEncoding.DecodeString(hash); err == nil {
			p.Comment = "go.sum h1 (SHA-256 of the list of files): " + hex.EncodeToString(raw)
		}
	}
	return p
}
