// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"os"
	"strings"
)

// Put replaces in a document what stands between <!-- bench NAME --> and the
// next <!-- end -->. What people wrote around it stays.
func Put(doc, name, text string) (string, error) {
	begin, end := "<!-- bench "+name+" -->\n", "<!-- end -->"
	head, rest, ok := strings.Cut(doc, begin)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(begin))
	}
	old, tail, ok := strings.Cut(rest, end)
	if !ok || strings.Contains(old, "<!-- bench ") {
		return "", fmt.Errorf("no line %q behind %q", end, strings.TrimSpace(begin))
	}
	return head + begin + strings.TrimRight(text, "\n") + "\n" + end + tail, nil
}

// Update puts texts, by name, into the document at path.
func Update(path string, texts map[string]string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	doc := string(b)
	for name, text := range texts {
		if doc, err = Put(doc, name, text); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(doc), 0o644)
}
