-- A ledger as version 1 of the schema made it. Frozen: ledgers like this are on people's disks.
PRAGMA journal_mode = WAL;
PRAGMA application_id = 1650943342;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE events (
        id INTEGER PRIMARY KEY,         -- the order; clocks may jump
        task INTEGER NOT NULL REFERENCES tasks (id),
        at REAL NOT NULL,
        event TEXT NOT NULL,
        from_state TEXT,
        to_state TEXT NOT NULL,
        code TEXT,
        message TEXT,
        request_id TEXT,
        detail TEXT                     -- a JSON object, or nothing
    );
INSERT INTO "events" VALUES(1,1,1700000000.0,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(2,1,1700000000.0,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(3,1,1700000002.0,'accepted','submitting','submitted',NULL,NULL,NULL,NULL);
CREATE TABLE images (
        path TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns TEXT NOT NULL,         -- may exceed 64 bits with a sign, as inode may
        inode TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        format TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('origin','https://api.example');
CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
        id INTEGER PRIMARY KEY,
        external_task_id TEXT NOT NULL UNIQUE,
        base_id TEXT NOT NULL,
        manifest TEXT NOT NULL,
        job_id TEXT NOT NULL,
        take INTEGER NOT NULL,
        digest TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'submitting', 'unknown', 'submitted', 'succeeded',
                                             'downloaded', 'failed', 'rejected')),
        kind TEXT NOT NULL,             -- mode/duration
        attempt INTEGER NOT NULL,
        created_at REAL NOT NULL,       -- times are Unix seconds
        submitted_at REAL,
        finished_at REAL,
        length REAL,                    -- seconds that the task took, where it ended well
        task_id TEXT,
        error_code TEXT,
        error_message TEXT,
        request_id TEXT,
        output_path TEXT NOT NULL,
        output_key TEXT,                -- output_path as a file system sees it that ignores case; while it is held
        video_url TEXT,
        video_path TEXT,
        video_sha256 TEXT,
        cost_usd_estimate REAL,
        units_charged TEXT,
        canonical TEXT NOT NULL
    );
INSERT INTO "tasks" VALUES(1,'hero','hero','night','hero',1,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','submitted','pro/5',1,1700000000.0,1700000002.0,NULL,NULL,'t1',NULL,NULL,NULL,'/clips/night/hero.mp4','/clips/night/hero.mp4',NULL,NULL,NULL,0.56,NULL,'{"duration":"5","mode":"pro"}');
CREATE INDEX tasks_job ON tasks (manifest, job_id, take);
CREATE INDEX tasks_retry ON tasks (base_id) WHERE external_task_id <> base_id;
CREATE INDEX tasks_state ON tasks (state);
CREATE UNIQUE INDEX tasks_output ON tasks (output_key) WHERE output_key IS NOT NULL;
CREATE INDEX tasks_length ON tasks (kind, finished_at, length) WHERE length IS NOT NULL;
CREATE INDEX events_task ON events (task);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER tasks_last BEFORE DELETE ON tasks BEGIN SELECT RAISE(ABORT, 'tasks are never forgotten'); END;
CREATE TRIGGER tasks_stay BEFORE UPDATE OF id, external_task_id, base_id ON tasks
        BEGIN SELECT RAISE(ABORT, 'a task keeps its id'); END;
COMMIT;
