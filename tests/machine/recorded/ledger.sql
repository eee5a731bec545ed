PRAGMA user_version = 3;
PRAGMA application_id = 1650943342;
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
INSERT INTO "events" VALUES(1,1,1.79590560851049590106e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(2,1,1.79590560851049590106e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(3,1,1.795905608550650835e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-2',NULL);
INSERT INTO "events" VALUES(4,2,1.79590560856439971923e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(5,2,1.79590560856439971923e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(6,2,1.79590560858025884627e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-4',NULL);
INSERT INTO "events" VALUES(7,3,1.79590560860392808913e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(8,3,1.79590560860392808913e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(9,4,1.79590560860413241388e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(10,4,1.79590560860413241388e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(11,3,1.79590560861888027185e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-8',NULL);
INSERT INTO "events" VALUES(12,4,1.79590560861900949479e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-9',NULL);
INSERT INTO "events" VALUES(13,5,1.79590560863099479678e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(14,5,1.79590560863099479678e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(15,5,1.7959056086336743831e+09,'refused','submitting','rejected','1301','refused by the content policy (the content security policy was triggered)','sandbox-11',NULL);
INSERT INTO "events" VALUES(16,6,1.79590560863603210446e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(17,6,1.79590560863603210446e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(18,2,1.79590560866124343865e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-13',NULL);
INSERT INTO "events" VALUES(19,6,1.79590560866253972057e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-14',NULL);
INSERT INTO "events" VALUES(20,7,1.79590560866892886161e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(21,7,1.79590560866892886161e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(22,7,1.79590560867208147051e+09,'unclear','submitting','unknown',NULL,'no answer: Connection reset by peer',NULL,NULL);
INSERT INTO "events" VALUES(23,7,1.79590560867425251003e+09,'adopted','unknown','submitted',NULL,NULL,'sandbox-19',NULL);
INSERT INTO "events" VALUES(24,3,1.79590560868188333512e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-20',NULL);
INSERT INTO "events" VALUES(25,4,1.79590560868310093875e+09,'task_failed','submitted','failed',NULL,'the task failed: the platform''s risk control refused the result','sandbox-21',NULL);
INSERT INTO "events" VALUES(26,2,1.79590560870554232595e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(27,3,1.79590560871466660497e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(28,6,1.79590560872508358952e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-24',NULL);
INSERT INTO "events" VALUES(29,6,1.79590560872874283786e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(30,7,1.7959056087337248325e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-26',NULL);
INSERT INTO "events" VALUES(31,7,1.79590560874430775649e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(32,8,1.79590560992445087435e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(33,8,1.79590560992445087435e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(34,8,1.79590560994497227664e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-35',NULL);
INSERT INTO "events" VALUES(35,9,1.79590560994948244093e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(36,9,1.79590560994948244093e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(37,9,1.79590560996627497669e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-37',NULL);
INSERT INTO "events" VALUES(38,10,1.79590560996839570997e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(39,10,1.79590560996839570997e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(40,10,1.79590560997066283222e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-39',NULL);
INSERT INTO "events" VALUES(41,11,1.79590560997245264054e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(42,11,1.79590560997245264054e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(43,11,1.7959056099746274948e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-41',NULL);
INSERT INTO "events" VALUES(44,12,1.79590560998040270801e+09,'planned',NULL,'pending',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(45,12,1.79590560998040270801e+09,'intent','pending','submitting',NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(46,12,1.79590560998436903948e+09,'accepted','submitting','submitted',NULL,NULL,'sandbox-43',NULL);
INSERT INTO "events" VALUES(47,9,1.79590561003099656103e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-45',NULL);
INSERT INTO "events" VALUES(48,10,1.79590561003693032263e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-47',NULL);
INSERT INTO "events" VALUES(49,11,1.79590561003840541842e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-48',NULL);
INSERT INTO "events" VALUES(50,9,1.79590561004599642749e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(51,10,1.79590561004714798932e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(52,12,1.79590561004818153384e+09,'task_succeeded','submitted','succeeded',NULL,NULL,'sandbox-51',NULL);
INSERT INTO "events" VALUES(53,11,1.79590561005233955381e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
INSERT INTO "events" VALUES(54,12,1.79590561005388379099e+09,'downloaded','succeeded','downloaded',NULL,NULL,NULL,'{"bytes":1946}');
CREATE TABLE images (
        path TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns TEXT NOT NULL,         -- may exceed 64 bits with a sign, as inode may
        inode TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        format TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL
    , orientation INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('origin','http://127.0.0.1:40169');
CREATE TABLE moves (task INTEGER PRIMARY KEY REFERENCES tasks (id), target TEXT NOT NULL);
CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "notes" VALUES('clips:@FOLDER@/clips/night','7110');
INSERT INTO "notes" VALUES('doubtful:night','yes');
INSERT INTO "notes" VALUES('doubtful:other','yes');
INSERT INTO "notes" VALUES('lookups','seen to work');
INSERT INTO "notes" VALUES('mount:@FOLDER@/clips','/');
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
    , image TEXT, parts TEXT, output_dir TEXT, video_size INTEGER);
INSERT INTO "tasks" VALUES(1,'night.done.e1fb6aea553189781404','night.done.e1fb6aea553189781404','night','done',1,'82cd73c2b44ebc91a31b0fdf075ccb464a40b163c0b15a7d9a086384b4094aad','submitted','std/5',1,1.79590560851049590106e+09,1.79590560855063748361e+09,NULL,NULL,'1795905607376000001',NULL,NULL,'sandbox-2','@FOLDER@/clips/night/done.mp4','@FOLDER@/clips/night/done.mp4',NULL,NULL,NULL,0.42,NULL,'{"cfg_scale":0.5,"duration":"5","image":"https://example.com/done.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of done, with \"quotes\" and =formula","sound":"off"}','https://example.com/done.png',NULL,'@FOLDER@/clips',NULL);
INSERT INTO "tasks" VALUES(2,'night.takes.ce949c2a300052f0674d','night.takes.ce949c2a300052f0674d','night','takes',2,'518d564689d987ea72c2b7f827da5f87eaafdea7a961c8f2a78cded79b445879','downloaded','std/5',1,1.79590560856439971923e+09,1.79590560858024740221e+09,1.79590560865997028346e+09,7.9722881317138671875e-02,'1795905607376000002',NULL,NULL,'sandbox-13','@FOLDER@/clips/night/takes.take2.mp4','@FOLDER@/clips/night/takes.take2.mp4','http://127.0.0.1:40169/videos/1795905607376000002.mp4','@FOLDER@/clips/night/takes.take2.mp4','09b9f1cde9c00f26d5be7480ac817c43598126d6a7616d81deb31e9bb014e4e5',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/takes.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of takes, with \"quotes\" and =formula","sound":"off"}','https://example.com/takes.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(3,'night.failed.518df12df894c557175a','night.failed.518df12df894c557175a','night','failed',1,'3eb25482d5c03cf8602ddb4ed3bcad0bfd5b2cd0a2ebdce5049a19905257db60','downloaded','std/5',1,1.79590560860392808913e+09,1.79590560861886858936e+09,1.7959056086808884144e+09,6.2019824981689453125e-02,'1795905607376000003',NULL,NULL,'sandbox-20','@FOLDER@/clips/night/failed.mp4','@FOLDER@/clips/night/failed.mp4','http://127.0.0.1:40169/videos/1795905607376000003.mp4','@FOLDER@/clips/night/failed.mp4','e6e49325373d7d799c89b262e90f16f8b9be1a5e4a415737520f2a4c8c9588a9',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/failed.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of failed, with \"quotes\" and =formula","sound":"off"}','https://example.com/failed.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(4,'other.second.5587173ce816149bc2a1','other.second.5587173ce816149bc2a1','other','second',1,'671cf98a10674adc1834ff6c9b7f4c53c3c9e0f3a1bc64adeffe256c7925fda1','failed','std/5',1,1.79590560860413241388e+09,1.79590560861900544161e+09,1.79590560868106532098e+09,NULL,'1795905607376000004','failed_content','the task failed: the platform''s risk control refused the result','sandbox-21','@FOLDER@/clips/other/second.mp4',NULL,NULL,NULL,NULL,0.42,'0','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/second.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of second, with \"quotes\" and =formula","sound":"off"}','https://example.com/second.png',NULL,'@FOLDER@/clips',NULL);
INSERT INTO "tasks" VALUES(5,'night.refused.6fd97585078310c8b285','night.refused.6fd97585078310c8b285','night','refused',1,'09c53e2f3e0d16e90b9ac8351b5dc994ecf54e7d40c5f1166ab761224d045cca','rejected','std/5',1,1.79590560863099479678e+09,NULL,NULL,NULL,NULL,'1301','refused by the content policy (the content security policy was triggered)','sandbox-11','@FOLDER@/clips/night/refused.mp4',NULL,NULL,NULL,NULL,0.42,NULL,'{"cfg_scale":0.5,"duration":"5","image":"https://example.com/refused.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of refused, with \"quotes\" and =formula","sound":"off"}','https://example.com/refused.png',NULL,'@FOLDER@/clips',NULL);
INSERT INTO "tasks" VALUES(6,'night.unknown.4ebfb7d266546d8c2f4b','night.unknown.4ebfb7d266546d8c2f4b','night','unknown',1,'d819af2586eb7c26d5600753640446150039754c570f4dc8e7f6885f69e46e6a','downloaded','std/5',1,1.79590560863603210446e+09,1.79590560866253328318e+09,1.79590560872406864159e+09,6.1535358428955078125e-02,'1795905607376000005',NULL,NULL,'sandbox-24','@FOLDER@/clips/night/unknown.mp4','@FOLDER@/clips/night/unknown.mp4','http://127.0.0.1:40169/videos/1795905607376000005.mp4','@FOLDER@/clips/night/unknown.mp4','877fd46c3ce24f08b0ba814d471999e3530d00838fc20291020c52b6e50a5bd9',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/unknown.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of unknown, with \"quotes\" and =formula","sound":"off"}','https://example.com/unknown.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(7,'night.running.f6b04ad5b9092ec628e2','night.running.f6b04ad5b9092ec628e2','night','running',1,'7b7076a5e81b097b618d54a78dcab63e73b3f78383b103ee5f84ebc58781ddf6','downloaded','std/5',1,1.79590560866892886161e+09,1.79590560866892886161e+09,1.7959056087327086925e+09,6.37798309326171875e-02,'1795905607376000006',NULL,NULL,'sandbox-26','@FOLDER@/clips/night/running.mp4','@FOLDER@/clips/night/running.mp4','http://127.0.0.1:40169/videos/1795905607376000006.mp4','@FOLDER@/clips/night/running.mp4','eb623521460fe453e0572a53e8618c246f58b6b74da4def8c06bc329b35b77c0',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/running.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of running, with \"quotes\" and =formula","sound":"off"}','https://example.com/running.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(8,'night.pro.840e15cc6e410d234171','night.pro.840e15cc6e410d234171','night','pro',1,'b0ba2458b743c25e1c8b9a044aeeabcf8db12a3ddbab55ebf1a0d98366eeb090','unknown','pro/10',1,1.79590560992445087435e+09,1.79590560994495892525e+09,NULL,NULL,NULL,NULL,NULL,'sandbox-35','@FOLDER@/clips/night/pro.mp4','@FOLDER@/clips/night/pro.mp4',NULL,NULL,NULL,1.68,NULL,'{"cfg_scale":0.5,"duration":"10","image":"https://example.com/pro.png","mode":"pro","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of pro, with \"quotes\" and =formula","sound":"on"}','https://example.com/pro.png',NULL,'@FOLDER@/clips',NULL);
INSERT INTO "tasks" VALUES(9,'night.Gru-e-1.6fe022496732b31f1ce4','night.Gru-e-1.6fe022496732b31f1ce4','night','Grüße-1',1,'34a0ed8abd42ae45919c90355ab20ef29b97bef35f147255d3bbce58c624ad44','downloaded','std/5',1,1.79590560994948244093e+09,1.7959056099662632942e+09,1.79590561002955913542e+09,6.3295841217041015625e-02,'1795905607376000008',NULL,NULL,'sandbox-45','@FOLDER@/clips/night/Grüße-1.mp4','@FOLDER@/clips/night/grüsse-1.mp4','http://127.0.0.1:40169/videos/1795905607376000008.mp4','@FOLDER@/clips/night/Grüße-1.mp4','c60daf18649d0f0a2e2c257515c76675af4a2765a6474be0e573d36db8a4993a',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/g.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of Grüße-1, with \"quotes\" and =formula","sound":"off"}','https://example.com/g.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(10,'own-1','own-1','night','own',1,'de98dfea6025c58aa6291e33b3b7fd0011723e692f86b7c54468274acb7f6fab','downloaded','std/5',1,1.79590560996839570997e+09,1.79590560997065472608e+09,1.79590561003538012503e+09,6.4725399017333984375e-02,'1795905607376000009',NULL,NULL,'sandbox-47','@FOLDER@/clips/night/own.mp4','@FOLDER@/clips/night/own.mp4','http://127.0.0.1:40169/videos/1795905607376000009.mp4','@FOLDER@/clips/night/own.mp4','42dc3882f27e5e59a5aa7686b166e06bd9742847d0105d8b9f0b2e0ff9726a87',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/own.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of own, with \"quotes\" and =formula","sound":"off"}','https://example.com/own.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(11,'night.changed.b7bf232ce654873f0734','night.changed.b7bf232ce654873f0734','night','changed',1,'ab3c4c0bd330cc34d7cf54241d48f3e732cef4f2b5fb42d3e98dc13d733774c5','downloaded','std/5',1,1.79590560997245264054e+09,1.7959056099746212959e+09,1.79590561003733777999e+09,6.271648406982421875e-02,'1795905607376000010',NULL,NULL,'sandbox-48','@FOLDER@/clips/night/changed.mp4','@FOLDER@/clips/night/changed.mp4','http://127.0.0.1:40169/videos/1795905607376000010.mp4','@FOLDER@/clips/night/changed.mp4','b43011317bed021d20740afe9ec815552509db3356db67580739dfb4a4f10533',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/changed.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of changed, with \"quotes\" and =formula","sound":"off"}','https://example.com/changed.png',NULL,'@FOLDER@/clips',1946);
INSERT INTO "tasks" VALUES(12,'night.renamed.e6f9330faf40e86637f1','night.renamed.e6f9330faf40e86637f1','night','renamed',1,'770b8c0e590df5cab1475efa27e5b27776668c8aa0508cc038373df8756a8e2b','downloaded','std/5',1,1.79590560998040270801e+09,1.79590560998436284071e+09,1.79590561004716563219e+09,6.2802791595458984375e-02,'1795905607376000011',NULL,NULL,'sandbox-51','@FOLDER@/clips/night/renamed.mp4','@FOLDER@/clips/night/renamed.mp4','http://127.0.0.1:40169/videos/1795905607376000011.mp4','@FOLDER@/clips/night/renamed.mp4','23f622d5e37935fe6668facf265ba2344b4dc09a145df93ede5104d9e8395996',0.42,'3','{"cfg_scale":0.5,"duration":"5","image":"https://example.com/renamed.png","mode":"std","model_name":"kling-v3","multi_shot":false,"prompt":"Prompt of renamed, with \"quotes\" and =formula","sound":"off"}','https://example.com/renamed.png',NULL,'@FOLDER@/clips',1946);
CREATE TABLE unusable (
        manifest TEXT NOT NULL,
        job_id TEXT NOT NULL,
        take INTEGER NOT NULL,
        evidence TEXT NOT NULL,         -- another one where a file was replaced
        text TEXT NOT NULL,
        since REAL NOT NULL,
        given_up TEXT,                  -- by whom, as long as the evidence stays
        PRIMARY KEY (manifest, job_id, take)
    ) WITHOUT ROWID;
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
CREATE INDEX tasks_digest ON tasks (digest);
CREATE INDEX tasks_task ON tasks (task_id);
COMMIT;