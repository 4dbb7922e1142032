// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The refusal in the picture of README.md, and in the words beside it, is what portguard says.
func TestPicture(t *testing.T) {
	said, err := os.ReadFile(root + "pkg/conflict/testdata/messages.golden")
	if err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(root + "docs/pictures/refusal.svg")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(root + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	picture := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(string(svg), " ")), " ")
	words := strings.Join(strings.Fields(string(readme)), " ")
	message := regexp.MustCompile(`hostPort 80/tcp is taken: .* choose another hostPort`).FindString(picture)
	general := regexp.MustCompile(`pid \d+`).ReplaceAllString(message, "pid 7")
	if message == "" || !strings.Contains(string(said), "\n100: "+general+"\n") || !strings.Contains(words, message) {
		t.Errorf("the picture says %q", message)
	}
}
