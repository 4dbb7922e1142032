// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// decode unmarshals b into v and turns a type mismatch into a FieldError below
// prefix.
func decode(b []byte, prefix string, v any) error {
	err := json.Unmarshal(b, v)
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		field := strings.Trim(prefix+"."+te.Field, ".")
		if field == "" {
			field = "network configuration"
		}
		return fieldErrorf(field, "%s (want %s)", misread(valueAt(b, te.Field), jsonKind(te.Value)), jsonKind(te.Type.String()))
	}
	if err != nil {
		return fmt.Errorf("the network configuration is not valid JSON: %w; correct the conflist", err)
	}
	return nil
}

// misread says what a value is, or what within it is wrong.
func misread(given, kind string) string {
	switch {
	case given == "true" || given == "false":
		return given + " is of the wrong type"
	case strings.ContainsAny(given[:1], "[{") && kind != "a list" && kind != "an object":
		return given + " holds " + kind
	}
	return given + " is " + kind
}

// valueAt is the value at a path of keys, "" for b itself, cut to what fits in an error.
func valueAt(b []byte, path string) string {
	const most = 60
	for key := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if path == "" || json.Unmarshal(b, &object) != nil || object[key] == nil {
			break
		}
		b = object[key]
	}
	var out bytes.Buffer
	if json.Compact(&out, b) != nil || out.Len() == 0 {
		return "the value"
	}
	if out.Len() > most {
		return strings.ToValidUTF8(out.String()[:most], "") + "..."
	}
	return out.String()
}

// jsonKind says a type of Go, or what encoding/json calls a value, in the words of
// JSON.
func jsonKind(name string) string {
	switch {
	case strings.HasPrefix(name, "[]"), name == "array":
		return "a list"
	case strings.HasPrefix(name, "int"):
		return "a whole number"
	case strings.HasPrefix(name, "number"):
		return "a number"
	case name == "bool":
		return "true or false"
	case name == "string":
		return "a string"
	}
	return "an object"
}
