INSERT INTO head VALUES (1, 1, 'log_p', 2, 2, 1030, 1, '0.1.0');
INSERT INTO inbox VALUES
    (1, 'msg_o2', 'order.cmd.product.reserve_stock.v1', 'ord_1', 'order', 2, '', '', 'system', 1010, NULL, '{"o":2}', NULL, NULL, '0.1.0'),
    (2, 'msg_o4', 'order.cmd.product.commit_stock.v1', 'ord_1', 'order', 4, '', '', 'system', 1030, NULL, '{"o":4}', NULL, NULL, '0.1.0');
INSERT INTO outbox VALUES
    (1, 'msg_p1', 'product.evt.stock_reserved.v1', 'ord_1', 'msg_o2', '', 'system', 1010, NULL, '{"p":1}'),
    (2, 'msg_p2', 'product.evt.stock_committed.v1', 'ord_1', 'msg_o4', '', 'system', 1030, NULL, '{"p":2}');
INSERT INTO read_cursor VALUES ('product', 'order', 'log_o', 6, 'msg_o6');
INSERT INTO stock VALUES ('sku_1', 9, 0, 2, 0);
INSERT INTO stock_movement VALUES
    ('sku_1', 1, 'opening', 10, 'cmd_0', NULL, 900), ('sku_1', 2, 'sale', -1, 'ord_1', NULL, 1030);
INSERT INTO reservation VALUES ('ord_1', 'committed', '[{"sku_id":"sku_1","quantity":1}]', '[]', 2000, NULL);
