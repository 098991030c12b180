package main

// Runs a script as Argo CD runs it: gopher-lua with base, table and package, a second of time, the object as the global `obj`.

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

// What a script may ask for beside base, table and package.
type libraries int

const (
	none   libraries = iota // health checks out of argocd-cm
	safeOs                  // actions: os.date and os.time, and nothing else of os
)

func runScript(script string, object map[string]any, with libraries) ([]byte, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	if with == safeOs {
		state.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
			state.Push(state.SetFuncs(state.NewTable(), map[string]lua.LGFunction{"date": date}))
			return 1
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("actionParams", state.NewTable())
	state.SetGlobal("obj", toLua(state, object))
	function, err := state.LoadString(script)
	if err != nil {
		return nil, err
	}
	state.Push(function)
	if err := state.PCall(0, 1, nil); err != nil {
		return nil, err
	}
	answer := state.Get(-1)
	if answer.Type() != lua.LTTable {
		return nil, fmt.Errorf("the script returns a %s and not a table", answer.Type())
	}
	return luajson.Encode(answer)
}

// Of os.date what scripts use: the time now, in UTC, in the directives that Argo CD knows.
func date(state *lua.LState) int {
	format, utc := strings.CutPrefix(state.CheckString(1), "!")
	now := time.Now()
	if utc {
		now = now.UTC()
	}
	known := strings.NewReplacer("%Y", "2006", "%m", "01", "%d", "02", "%H", "15", "%M", "04", "%S", "05", "%X", "15:04:05", "%F", "2006-01-02")
	if rest := known.Replace(format); strings.Contains(rest, "%") {
		state.RaiseError("os.date: a directive that Argo CD does not know: %s", format)
	}
	state.Push(lua.LString(now.Format(known.Replace(format))))
	return 1
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}

// Health is what a health check says.
type Health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func health(script string, object map[string]any) (Health, error) {
	var said Health
	answer, err := runScript(script, object, none)
	if err == nil {
		err = json.Unmarshal(answer, &said)
	}
	switch said.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended":
	default:
		if err == nil {
			err = fmt.Errorf("%q is no health", said.Status)
		}
	}
	return said, err
}

// Action is what a discovery script says of an action.
type Action struct {
	Name        string `json:"name"`
	Disabled    bool   `json:"disabled"`
	IconClass   string `json:"iconClass"`
	DisplayName string `json:"displayName"`
}

func discover(script string, object map[string]any) (map[string]Action, error) {
	answer, err := runScript(script, object, safeOs)
	if err != nil {
		return nil, err
	}
	var found map[string]Action
	if err := json.Unmarshal(answer, &found); err != nil {
		return nil, err
	}
	for name, action := range found {
		action.Name = name
		found[name] = action
	}
	return found, nil
}

func act(script string, object map[string]any) (map[string]any, error) {
	answer, err := runScript(script, object, safeOs)
	if err != nil {
		return nil, err
	}
	var changed map[string]any
	if err := json.Unmarshal(answer, &changed); err != nil {
		return nil, err
	}
	likeBefore(changed, object)
	return changed, nil
}

// Lua has one kind of table: an empty object comes back as an empty list. As Argo CD does, what was an object before is one again.
func likeBefore(now, before any) {
	switch before := before.(type) {
	case map[string]any:
		now, ok := now.(map[string]any)
		if !ok {
			return
		}
		for key, old := range before {
			_, wasObject := old.(map[string]any)
			if list, isList := now[key].([]any); wasObject && isList && len(list) == 0 {
				now[key] = map[string]any{}
			}
			likeBefore(now[key], old)
		}
	case []any:
		now, _ := now.([]any)
		for i := range min(len(now), len(before)) {
			likeBefore(now[i], before[i])
		}
	}
}
