// SPDX-License-Identifier: Apache-2.0

// Command attribution reads from a built plugin which modules are linked into it. It
// writes their licences, and an SBOM in SPDX 2.3.
//
//	attribution [-version V] [-created TIME] [-licenses FILE] [-sbom FILE] BINARY
package main

import (
	"debug/buildinfo"
	"flag"
	"fmt"
	"os"
)

func main() {
	version := flag.String("version", "", "version of the plugin")
	created := flag.String("created", "", "when, as 2006-01-02T15:04:05Z")
	licenses := flag.String("licenses", "", "write the licences here")
	sbom := flag.String("sbom", "", "write the SBOM here")
	flag.Parse()
	if err := run(flag.Arg(0), *version, *created, *licenses, *sbom); err != nil {
		fmt.Fprintln(os.Stderr, "attribution:", err)
		os.Exit(1)
	}
}

func run(binary, version, created, licenses, sbom string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	all, err := components(info)
	if err != nil {
		return err
	}
	if licenses != "" {
		if err := os.WriteFile(licenses, []byte(texts(all)), 0o644); err != nil {
			return err
		}
	}
	if sbom == "" {
		return nil
	}
	b, err := spdx(binary, version, created, all)
	if err != nil {
		return err
	}
	return os.WriteFile(sbom, b, 0o644)
}
