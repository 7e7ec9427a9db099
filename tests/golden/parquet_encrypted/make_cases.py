"""Parquet files with encrypted columns, by pyarrow: python make_cases.py

For each file cases.json has what says why it is not read, and the rows of the columns that are plain. Keys are not kept:
nothing here is to be decrypted."""
import base64, json, os
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

here = os.path.dirname(os.path.abspath(__file__))


class Keys(pe.KmsClient):
    def __init__(self, config):
        super().__init__()

    def wrap_key(self, key, master):
        return base64.b64encode(key)

    def unwrap_key(self, wrapped, master):
        return base64.b64decode(wrapped)


table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [[0.5], [], [1.0, 2.0]]})
factory, connection, cases = pe.CryptoFactory(lambda _: Keys(_)), pe.KmsConnectionConfig(), []
for algorithm in ("AES_GCM_V1", "AES_GCM_CTR_V1"):
    for plain_footer, uniform in ((True, False), (False, False), (False, True)):
        # one key for all columns, or one for column a
        keys = {} if uniform else {"column_keys": {"k": ["a"]}}
        how = pe.EncryptionConfiguration(footer_key="f", plaintext_footer=plain_footer, uniform_encryption=uniform,
                                         encryption_algorithm=algorithm, data_key_length_bits=128, **keys)
        name = f"{algorithm}_{'plain' if plain_footer else 'secret'}_footer_{'all' if uniform else 'one'}.parquet"
        properties = factory.file_encryption_properties(connection, how)
        with pq.ParquetWriter(f"{here}/{name}", table.schema, encryption_properties=properties) as writer:
            writer.write_table(table)
        readable = table.select(["b", "c"]).to_pylist() if plain_footer else []
        cases.append({"file": name, "why": "column 'a': it is encrypted" if plain_footer else "its footer is encrypted",
                      "plain": readable})
with open(f"{here}/cases.json", "w") as out:
    json.dump({"pyarrow": pa.__version__, "cases": cases}, out, indent=1)
