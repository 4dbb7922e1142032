// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/portguard/portguard/integration/lab"
)

// install builds the programs and copies each into its place, as on a node. The
// linker writes through a mapping, page by page, and so the page cache has the
// file; that of a copy is in large folios, and every start takes fewer faults
// (0.4 ms of 2 here, for any of the programs).
func install(dir string) error {
	if err := lab.Build(dir); err != nil {
		return err
	}
	return renew(dir)
}

// renew copies them once more. How large the folios of a copy are depends on what memory
// is free just then, and makes a start of the same program cheaper or dearer by up to a tenth.
func renew(dir string) error {
	built, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range built {
		path := filepath.Join(dir, e.Name())
		program, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path+".new", program, 0o755)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			return fmt.Errorf("could not install %s: %w", e.Name(), err)
		}
	}
	return nil
}
