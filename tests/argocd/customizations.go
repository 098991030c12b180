package main

// The tests that lie beside the scripts: health_test.yaml and action_test.yaml, in the format of Argo CD's resource_customizations.

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const requestedAt = "rolecall.dev/requestedAt"

type healthTests struct {
	Tests []struct {
		InputPath    string `json:"inputPath"`
		HealthStatus Health `json:"healthStatus"`
	} `json:"tests"`
}

type actionTests struct {
	DiscoveryTests []struct {
		InputPath string   `json:"inputPath"`
		Result    []Action `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

// A file as Argo CD's tests read it, unknown fields refused.
func read(path string, into any) error {
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readObject(path string) (map[string]any, error) {
	object := map[string]any{}
	return object, read(path, &object)
}

func readScript(path string) (string, error) {
	text, err := os.ReadFile(path)
	return string(text), err
}

type report struct{ health, discoveries, actions, wrong int }

func (r *report) fail(path, format string, args ...any) {
	r.wrong++
	fmt.Printf("%s: %s\n", path, fmt.Sprintf(format, args...))
}

func runLuaTests(folder string) error {
	var all report
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch filepath.Base(path) {
		case "health.lua":
			return all.runHealth(filepath.Dir(path))
		case "discovery.lua":
			return all.runActions(filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d health checks, %d discoveries and %d actions are as their tests say\n", all.health, all.discoveries, all.actions)
	if all.wrong > 0 {
		return fmt.Errorf("%d are not", all.wrong)
	}
	return nil
}

func (r *report) runHealth(folder string) error {
	script, err := readScript(filepath.Join(folder, "health.lua"))
	if err != nil {
		return err
	}
	var tests healthTests
	if err := read(filepath.Join(folder, "health_test.yaml"), &tests); err != nil {
		return err
	}
	used := map[string]bool{}
	for _, test := range tests.Tests {
		path := filepath.Join(folder, test.InputPath)
		used[path] = true
		object, err := readObject(path)
		if err != nil {
			return err
		}
		said, err := health(script, object)
		switch {
		case err != nil:
			r.fail(path, "%v", err)
		case said != test.HealthStatus:
			r.fail(path, "%+v instead of %+v", said, test.HealthStatus)
		default:
			r.health++
		}
	}
	return r.unused(folder, used)
}

func (r *report) runActions(folder string) error {
	discovery, err := readScript(filepath.Join(folder, "discovery.lua"))
	if err != nil {
		return err
	}
	var tests actionTests
	if err := read(filepath.Join(folder, "action_test.yaml"), &tests); err != nil {
		return err
	}
	used := map[string]bool{}
	tried := map[string]bool{}
	for _, test := range tests.DiscoveryTests {
		path := filepath.Join(folder, test.InputPath)
		used[path] = true
		object, err := readObject(path)
		if err != nil {
			return err
		}
		wanted := map[string]Action{}
		for _, action := range test.Result {
			wanted[action.Name] = action
		}
		found, err := discover(discovery, object)
		switch {
		case err != nil:
			r.fail(path, "discovery: %v", err)
		case !reflect.DeepEqual(found, wanted):
			r.fail(path, "discovery: %+v instead of %+v", found, wanted)
		default:
			r.discoveries++
		}
		for name := range found {
			if _, err := os.Stat(filepath.Join(folder, name, "action.lua")); err != nil {
				r.fail(path, "the action %s has no script", name)
			}
		}
	}
	for _, test := range tests.ActionTests {
		tried[test.Action] = true
		path := filepath.Join(folder, test.InputPath)
		expectedPath := filepath.Join(folder, test.ExpectedOutputPath)
		used[path], used[expectedPath] = true, true
		object, err := readObject(path)
		if err != nil {
			return err
		}
		expected, err := readObject(expectedPath)
		if err != nil {
			return err
		}
		script, err := readScript(filepath.Join(folder, test.Action, "action.lua"))
		if err != nil {
			return err
		}
		found, err := act(script, object)
		if err == nil {
			err = sameButTime(found, expected, object)
		}
		if err != nil {
			r.fail(path, "%s: %v", test.Action, err)
		} else {
			r.actions++
		}
	}
	scripts, err := filepath.Glob(filepath.Join(folder, "*", "action.lua"))
	if err != nil {
		return err
	}
	for _, script := range scripts {
		if !tried[filepath.Base(filepath.Dir(script))] {
			r.fail(script, "no test runs it")
		}
	}
	return r.unused(folder, used)
}

// Whether an object is the expected one. A time that the script writes is one of now: Argo CD's own test has to normalise it.
func sameButTime(found, expected, before map[string]any) error {
	at := func(object map[string]any) (map[string]any, string) {
		metadata, _ := object["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		text, _ := annotations[requestedAt].(string)
		return annotations, text
	}
	_, old := at(before)
	annotations, now := at(found)
	if now != old {
		written, err := time.Parse(time.RFC3339, now)
		if since := time.Since(written); err != nil || since < -time.Second || since > time.Minute || !strings.HasSuffix(now, "Z") {
			return fmt.Errorf("%s: %q is no time of now, in UTC", requestedAt, now)
		}
		_, annotations[requestedAt] = at(expected)
	}
	if reflect.DeepEqual(found, expected) {
		return nil
	}
	text := func(object map[string]any) string {
		text, _ := json.Marshal(object)
		return string(text)
	}
	return fmt.Errorf("%s\ninstead of %s", text(found), text(expected))
}

func (r *report) unused(folder string, used map[string]bool) error {
	files, err := filepath.Glob(filepath.Join(folder, "testdata", "*"))
	for _, file := range files {
		if !used[file] {
			r.fail(file, "no test reads it")
		}
	}
	return err
}
