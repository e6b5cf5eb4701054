/* JSON documents in a Redis server, as far as the tests need them: JSON.SET of a whole document and JSON.GET of it, as the
 * modules of Redis and Valkey have them (no package of either is in a registry). A document is kept without its blanks, and
 * written with those that are asked for. */

#include "redismodule.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MOST 128

static RedisModuleType *type;

typedef struct { char *at; size_t length, room; } Text;

static void add(Text *text, const char *bytes, size_t length) {
    if (text->length + length > text->room) {
        text->room = (text->length + length) * 2;
        text->at = RedisModule_Realloc(text->at, text->room);
    }
    memcpy(text->at + text->length, bytes, length);
    text->length += length;
}

typedef struct {
    const char *at, *end;
    const char *indent, *newline, *space;
    int depth;
    Text text;
} Reader;

static void blanks(Reader *reader) {
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at)) reader->at++;
}

static void line(Reader *reader) {
    add(&reader->text, reader->newline, strlen(reader->newline));
    for (int i = 0; i < reader->depth; i++) add(&reader->text, reader->indent, strlen(reader->indent));
}

static int string(Reader *reader) {
    const char *begin = reader->at++;
    for (; reader->at < reader->end && *reader->at != '"'; reader->at++) {
        if ((unsigned char)*reader->at < ' ') return 0;
        if (*reader->at == '\\') reader->at++;
    }
    if (reader->at >= reader->end) return 0;
    reader->at++;
    add(&reader->text, begin, reader->at - begin);
    return 1;
}

static int word(Reader *reader) {
    static const char *words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(reader->end - reader->at) >= length && !memcmp(reader->at, words[i], length)) {
            add(&reader->text, words[i], length);
            reader->at += length;
            return 1;
        }
    }
    const char *begin = reader->at;
    while (reader->at < reader->end && strchr("+-.0123456789eE", *reader->at)) reader->at++;
    add(&reader->text, begin, reader->at - begin);
    return reader->at > begin && (*begin == '-' || (*begin >= '0' && *begin <= '9'));
}

static int value(Reader *reader) {
    blanks(reader);
    if (reader->at >= reader->end) return 0;
    char open = *reader->at;
    if (open == '"') return string(reader);
    if (open != '{' && open != '[') return word(reader);
    char close = open == '{' ? '}' : ']';
    if (++reader->depth > DEPTH_MOST) return 0;
    add(&reader->text, reader->at++, 1);
    blanks(reader);
    int empty = reader->at < reader->end && *reader->at == close;
    while (!empty) {
        line(reader);
        if (open == '{') {
            blanks(reader);
            if (reader->at >= reader->end || *reader->at != '"' || !string(reader)) return 0;
            blanks(reader);
            if (reader->at >= reader->end || *reader->at++ != ':') return 0;
            add(&reader->text, ":", 1);
            add(&reader->text, reader->space, strlen(reader->space));
        }
        if (!value(reader)) return 0;
        blanks(reader);
        if (reader->at >= reader->end) return 0;
        if (*reader->at == close) break;
        if (*reader->at++ != ',') return 0;
        add(&reader->text, ",", 1);
    }
    reader->depth--;
    if (!empty) line(reader);
    add(&reader->text, reader->at++, 1);
    return 1;
}

/* The document with these blanks; no text where it is none. */
static Text write_with(const char *bytes, size_t length, const char *indent, const char *newline, const char *space) {
    Reader reader = {bytes, bytes + length, indent, newline, space, 0, {NULL, 0, 0}};
    int whole = value(&reader);
    blanks(&reader);
    if (!whole || reader.at != reader.end) {
        RedisModule_Free(reader.text.at);
        reader.text = (Text){NULL, 0, 0};
    }
    return reader.text;
}

static int is_root(RedisModuleString *path) {
    const char *text = RedisModule_StringPtrLen(path, NULL);
    return !strcmp(text, "$") || !strcmp(text, ".");
}

static int set(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 4) return RedisModule_WrongArity(ctx);
    if (!is_root(argv[2])) return RedisModule_ReplyWithError(ctx, "ERR only whole documents are set here");
    RedisModuleKey *key = RedisModule_OpenKey(ctx, argv[1], REDISMODULE_READ | REDISMODULE_WRITE);
    if (RedisModule_KeyType(key) != REDISMODULE_KEYTYPE_EMPTY && RedisModule_ModuleTypeGetType(key) != type)
        return RedisModule_ReplyWithError(ctx, "WRONGTYPE Operation against a key holding the wrong kind of value");
    size_t length;
    const char *bytes = RedisModule_StringPtrLen(argv[3], &length);
    Text text = write_with(bytes, length, "", "", "");
    if (!text.at) return RedisModule_ReplyWithError(ctx, "ERR expected value at line 1 column 1");
    int there = RedisModule_KeyType(key) != REDISMODULE_KEYTYPE_EMPTY;
    mstime_t left = there ? RedisModule_GetExpire(key) : REDISMODULE_NO_EXPIRE;
    Text *kept = RedisModule_Alloc(sizeof *kept);
    *kept = text;
    RedisModule_ModuleTypeSetValue(key, type, kept);
    RedisModule_SetExpire(key, left);
    RedisModule_ReplicateVerbatim(ctx);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static int get(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc < 2) return RedisModule_WrongArity(ctx);
    const char *indent = "", *newline = "", *space = "";
    int in_list = 0;
    for (int i = 2; i < argc; i++) {
        const char *name = RedisModule_StringPtrLen(argv[i], NULL);
        const char **option = !strcasecmp(name, "INDENT") ? &indent : !strcasecmp(name, "NEWLINE") ? &newline
            : !strcasecmp(name, "SPACE") ? &space : NULL;
        if (option && i + 1 < argc) *option = RedisModule_StringPtrLen(argv[++i], NULL);
        else if (is_root(argv[i])) in_list = *name == '$';
        else return RedisModule_ReplyWithError(ctx, "ERR only whole documents are told here");
    }
    RedisModuleKey *key = RedisModule_OpenKey(ctx, argv[1], REDISMODULE_READ);
    if (RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY) return RedisModule_ReplyWithNull(ctx);
    if (RedisModule_ModuleTypeGetType(key) != type)
        return RedisModule_ReplyWithError(ctx, "WRONGTYPE Operation against a key holding the wrong kind of value");
    Text *kept = RedisModule_ModuleTypeGetValue(key);
    Text all = {NULL, 0, 0};
    if (in_list) add(&all, "[", 1);
    add(&all, kept->at, kept->length);
    if (in_list) add(&all, "]", 1);
    Text text = write_with(all.at, all.length, indent, newline, space);
    RedisModule_ReplyWithStringBuffer(ctx, text.at, text.length);
    RedisModule_Free(text.at);
    RedisModule_Free(all.at);
    return REDISMODULE_OK;
}

static void release(void *value) {
    RedisModule_Free(((Text *)value)->at);
    RedisModule_Free(value);
}

static void save(RedisModuleIO *io, void *value) {
    RedisModule_SaveStringBuffer(io, ((Text *)value)->at, ((Text *)value)->length);
}

static void *load(RedisModuleIO *io, int version) {
    (void)version;
    Text *text = RedisModule_Alloc(sizeof *text);
    text->at = RedisModule_LoadStringBuffer(io, &text->length);
    text->room = text->length;
    return text;
}

static void rewrite(RedisModuleIO *io, RedisModuleString *key, void *value) {
    RedisModule_EmitAOF(io, "JSON.SET", "scb", key, "$", ((Text *)value)->at, ((Text *)value)->length);
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv, (void)argc;
    if (RedisModule_Init(ctx, "ReJSON", 1, REDISMODULE_APIVER_1) == REDISMODULE_ERR) return REDISMODULE_ERR;
    RedisModuleTypeMethods methods = {
        .version = REDISMODULE_TYPE_METHOD_VERSION, .rdb_load = load, .rdb_save = save, .aof_rewrite = rewrite, .free = release,
    };
    type = RedisModule_CreateDataType(ctx, "ReJSON-RL", 3, &methods);
    if (!type) return REDISMODULE_ERR;
    if (RedisModule_CreateCommand(ctx, "JSON.SET", set, "write deny-oom", 1, 1, 1) == REDISMODULE_ERR) return REDISMODULE_ERR;
    return RedisModule_CreateCommand(ctx, "JSON.GET", get, "readonly", 1, 1, 1);
}
